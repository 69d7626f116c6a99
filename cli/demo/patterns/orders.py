"""Questions that the orders alone answer: net revenue is `amt-disc` of orders with status P7."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "net_revenue",
        "select sum(amt-disc)/100.0 from orders where st='P7' and dt like '{p}%'",
        zh="""
        {p}的净收入是多少
        {p}净收入总额
        查一下{p}的总净收入
        {p}公司净收入多少
        我们{p}净收入有多少
        统计{p}净收入
        {p}一共多少净收入
        """,
        en="""
        What was our net revenue in {p}?
        Net revenue in {p}
        Total net revenue for {p}
        How much net revenue did we make in {p}?
        Show the net revenue of {p}
        {p} net revenue, please
        What is the total net revenue for {p}?
        """,
    ),
    pattern(
        "net_revenue_of_channel",
        """select sum(amt-disc)/100.0 from orders
        where st='P7' and ch='{ch}' and dt like '{p}%'""",
        zh="""
        {p}{ch}渠道的净收入
        {ch}渠道{p}净收入多少
        {p}{ch}净收入是多少
        查{ch}渠道在{p}的净收入
        {ch}渠道{p}一共多少净收入
        统计{p}{ch}渠道净收入
        我们{p}靠{ch}渠道净收入多少
        """,
        en="""
        Net revenue of the {ch} channel in {p}
        What was {ch} net revenue in {p}?
        How much net revenue came from {ch} in {p}?
        {ch} channel net revenue for {p}
        Total {ch} net revenue in {p}
        Show me net revenue from the {ch} channel in {p}
        {p}: net revenue of the {ch} channel
        """,
    ),
    pattern(
        "net_revenue_of_channel_fiscal",
        "select sum(amt-disc)/100.0 from orders where st='P7' and ch='{ch}' and dt {fy}",
        zh="""
        {fy}{ch}渠道的净收入
        {ch}渠道{fy}净收入多少
        {fy}{ch}净收入是多少
        查{ch}渠道在{fy}的净收入
        {ch}渠道{fy}一共多少净收入
        统计{fy}{ch}渠道净收入
        我们{fy}靠{ch}渠道净收入多少
        """,
        en="""
        Net revenue of the {ch} channel in {fy}
        What was {ch} net revenue in {fy}?
        How much net revenue came from {ch} in {fy}?
        {ch} channel net revenue for {fy}
        Total {ch} net revenue in {fy}
        Show me net revenue from the {ch} channel in {fy}
        {fy}: net revenue of the {ch} channel
        """,
    ),
    pattern(
        "average_order_value_of_channel",
        """select avg(amt-disc)/100.0 from orders
        where st='P7' and ch='{ch}' and dt like '{p}%'""",
        zh="""
        {p}{ch}渠道的客单价
        {ch}渠道{p}客单价多少
        {p}{ch}客单价是多少
        查{ch}渠道在{p}的客单价
        {ch}订单{p}平均每单多少钱
        {p}{ch}渠道平均每单净额
        看看{ch}渠道{p}的客单价
        """,
        en="""
        Average order value of the {ch} channel in {p}
        What was the {ch} AOV in {p}?
        {ch} average order value for {p}
        How much is an average {ch} order in {p}?
        AOV of {ch} in {p}
        Show the average order value for {ch} in {p}
        {p}: average {ch} order value
        """,
    ),
    pattern(
        "orders_of_status",
        "select count(*) from orders where st='{st}' and dt like '{p}%'",
        zh="""
        {p}{st}的订单有多少
        {p}有多少{st}订单
        统计{p}{st}的订单数
        {p}{st}订单几个
        {p}下的单里{st}的有几单
        查{p}{st}订单数量
        {st}的订单{p}有几笔
        """,
        en="""
        How many {st} orders in {p}?
        Number of {st} orders in {p}
        Count the {st} orders of {p}
        How many orders of {p} are {st}?
        {p}: number of {st} orders
        Show the count of {st} orders for {p}
        Order count with status {st} in {p}
        """,
    ),
    pattern(
        "net_revenue_by_channel",
        "select ch, sum(amt-disc)/100.0 from orders where st='P7' and dt like '{p}%' group by ch",
        zh="""
        {p}各渠道净收入
        {p}每个渠道净收入多少
        按渠道看{p}净收入
        {p}净收入按渠道汇总
        各渠道在{p}的净收入分别多少
        {p}不同渠道的净收入
        统计{p}各渠道的净收入
        """,
        en="""
        Net revenue by channel in {p}
        What was the net revenue of each channel in {p}?
        Net revenue per channel for {p}
        Break down {p} net revenue by channel
        Show {p} net revenue for each channel
        How much net revenue did each channel make in {p}?
        {p} net revenue split by channel
        """,
    ),
    pattern(
        "monthly_net_revenue_of_channel",
        """select substr(dt,1,7), sum(amt-disc)/100.0 from orders
        where st='P7' and ch='{ch}' and dt like '{y}%' group by 1""",
        zh="""
        {y}{ch}渠道每月净收入
        {ch}渠道{y}各月净收入
        按月看{y}{ch}渠道净收入
        {y}{ch}净收入月度走势
        {ch}渠道{y}每个月净收入多少
        {y}{ch}渠道净收入按月汇总
        统计{ch}渠道{y}逐月净收入
        """,
        en="""
        Monthly net revenue of the {ch} channel in {y}
        {ch} net revenue by month in {y}
        Net revenue of {ch} for each month of {y}
        Show {ch} net revenue per month in {y}
        How did {ch} net revenue go month by month in {y}?
        {y} monthly {ch} net revenue
        Break down {y} {ch} net revenue by month
        """,
    ),
    pattern(
        "cancellation_rate",
        "select avg(st='P9') from orders where ch='{ch}' and dt like '{p}%'",
        zh="""
        {p}{ch}渠道的取消率
        {ch}渠道{p}取消率多少
        {p}{ch}订单取消率
        查{ch}渠道在{p}的取消率
        {p}{ch}订单取消的比例
        {ch}渠道{p}订单取消占比
        看看{p}{ch}渠道取消率
        """,
        en="""
        Cancellation rate of the {ch} channel in {p}
        What was the {ch} cancellation rate in {p}?
        What share of {ch} orders was cancelled in {p}?
        {ch} cancellation rate for {p}
        Show the {ch} order cancellation rate in {p}
        {p}: cancellation rate of {ch} orders
        Cancel rate for {ch} in {p}
        """,
    ),
    pattern(
        "discount_rate",
        "select sum(disc)*1.0/sum(amt) from orders where st='P7' and dt like '{p}%'",
        zh="""
        {p}的折扣率
        {p}折扣率是多少
        {p}整体折扣率多少
        查一下{p}的折扣率
        {p}折扣占总额的比例
        {p}优惠折扣占比多少
        统计{p}折扣率
        """,
        en="""
        Discount rate in {p}
        What was our discount rate in {p}?
        Overall discount rate for {p}
        How high was the discount rate in {p}?
        Share of discounts in gross amount in {p}
        Show the discount rate of {p}
        {p} discount rate, please
        """,
    ),
    pattern(
        "largest_orders",
        """select oid, (amt-disc)/100.0 from orders where st='P7' and dt like '{p}%'
        order by 2 desc limit {n}""",
        zh="""
        {p}净额最大的{n}个订单
        {p}最大的{n}笔订单
        列出{p}净额前{n}的订单
        {p}金额最高的{n}个订单
        {p}前{n}大订单
        找出{p}最大的{n}单
        {p}最大{n}个订单是哪些
        """,
        en="""
        The {n} largest orders in {p}
        Top {n} orders of {p}
        List the {n} biggest orders in {p}
        Which were the {n} largest orders in {p}?
        {n} highest value orders in {p}
        Show the {n} biggest orders of {p}
        {p}: {n} largest orders
        """,
        n=(3, 4, 5, 6, 8, 10, 12, 15),
    ),
    pattern(
        "months_above_net_revenue",
        """select substr(dt,1,7) from orders where st='P7' and dt like '{y}%'
        group by 1 having sum(amt-disc)>{v}*100""",
        zh="""
        {y}哪些月份净收入超过{v}元
        {y}净收入超过{v}元的月份
        {y}哪几个月净收入高于{v}元
        列出{y}净收入大于{v}元的月份
        {y}净收入过{v}元的是哪几个月
        {y}月净收入超过{v}元的月份有哪些
        找出{y}净收入高于{v}元的月份
        """,
        en="""
        Which months of {y} had net revenue above {v} yuan?
        Months in {y} with net revenue over {v} yuan
        In which months of {y} did net revenue exceed {v} yuan?
        List the {y} months with more than {v} yuan net revenue
        {y} months where net revenue passed {v} yuan
        Which {y} months made over {v} yuan net revenue?
        Show months of {y} above {v} yuan in net revenue
        """,
        v=(16000, 18000, 22000, 25000, 27000, 29000),
    ),
)
