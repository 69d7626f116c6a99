"""The held-out patterns: parts that training shows, put together in ways that it never does."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "net_revenue_of_region_fiscal",
        """select sum(amt-disc)/100.0 from orders join stores using(sid)
        where st='P7' and rg='{rg}' and dt {fy}""",
        zh="""
        {fy}{rg}的净收入
        {rg}{fy}净收入多少
        统计{rg}大区{fy}净收入
        """,
        en="""
        Net revenue of {rg} in {fy}
        How much net revenue did {rg} make in {fy}?
        Show me {rg} net revenue for {fy}
        """,
        held_out=True,
    ),
    pattern(
        "top_customers_of_tier",
        """select cname, sum(amt-disc)/100.0 from orders join customers using(cid)
        where st='P7' and lvl='{lvl}' and dt like '{p}%' group by cid order by 2 desc limit {n}""",
        zh="""
        {p}净收入前{n}的{lvl}客户
        列出{p}净收入最高的{n}个{lvl}客户
        {lvl}客户{p}净收入排名前{n}
        """,
        en="""
        Top {n} {lvl} customers by net revenue in {p}
        Which {n} {lvl} customers brought the most net revenue in {p}?
        List our {n} best {lvl} customers of {p} by net revenue
        """,
        n=(3, 4, 5, 6, 8, 10),
        held_out=True,
    ),
    pattern(
        "top_stores_of_region",
        """select sname, sum(amt-disc)/100.0 from orders join stores using(sid)
        where st='P7' and rg='{rg}' and dt like '{p}%' group by sid order by 2 desc limit {n}""",
        zh="""
        {p}{rg}净收入前{n}的门店
        列出{rg}{p}净收入最高的{n}家门店
        {rg}门店{p}净收入排名前{n}
        """,
        en="""
        Top {n} stores in {rg} by net revenue in {p}
        Which {n} {rg} stores made the most net revenue in {p}?
        The {n} {rg} stores with the highest net revenue in {p}
        """,
        n=(3, 4, 5),
        held_out=True,
    ),
    pattern(
        "cancellation_rate_by_channel",
        "select ch, avg(st='P9') from orders where dt like '{p}%' group by ch",
        zh="""
        {p}各渠道取消率
        按渠道看{p}取消率
        {p}每个渠道的取消率
        """,
        en="""
        Cancellation rate by channel in {p}
        What was the cancellation rate of each channel in {p}?
        Break down the {p} cancellation rate by channel
        """,
        held_out=True,
    ),
    pattern(
        "orders_of_tier",
        """select count(*) from orders join customers using(cid)
        where st='{st}' and lvl='{lvl}' and dt like '{y}%'""",
        zh="""
        {y}{lvl}客户{st}的订单有多少
        {lvl}客户{y}有几个{st}订单
        统计{lvl}客户{y}{st}的订单数
        """,
        en="""
        How many {st} orders do {lvl} customers have in {y}?
        Number of {st} orders from {lvl} customers in {y}
        Count the {st} orders of {lvl} customers in {y}
        """,
        held_out=True,
    ),
    pattern(
        "average_order_value_of_region",
        """select avg(amt-disc)/100.0 from orders join stores using(sid)
        where st='P7' and rg='{rg}' and dt like '{p}%'""",
        zh="""
        {p}{rg}的客单价
        {rg}{p}客单价多少
        查{rg}大区在{p}的客单价
        """,
        en="""
        Average order value of {rg} in {p}
        What was the AOV in {rg} in {p}?
        Show the average order value for {rg} in {p}
        """,
        held_out=True,
    ),
    pattern(
        "refunds_by_category",
        """select cat, sum(back)/100.0 from returns join products using(pid)
        where rdt like '{p}%' group by cat""",
        zh="""
        {p}各品类退款额
        按品类看{p}退款额
        {p}每个品类退款多少
        """,
        en="""
        Refunds by category in {p}
        How much did we refund for each category in {p}?
        Break down {p} refunds by category
        """,
        held_out=True,
    ),
    pattern(
        "category_share_of_sales",
        """select sum(case when cat='{cat}' then rev end)*1.0/sum(rev) from sales_records
        join products using(pid) where kd='D1' and sd like '{p}%'""",
        zh="""
        {p}{cat}类销售额占比
        {cat}类占{p}销售额的比例
        {p}销售额里{cat}类占多少
        """,
        en="""
        Share of {cat} products in sales in {p}
        What share of {p} sales came from {cat} products?
        {cat} share of sales for {p}
        """,
        held_out=True,
    ),
    pattern(
        "top_products_by_gross_profit",
        """select pname, sum(rev-qty*cost)/100.0 from sales_records join products using(pid)
        where kd='D1' and sd like '{p}%' group by pid order by 2 desc limit {n}""",
        zh="""
        {p}毛利前{n}的商品
        列出{p}毛利最高的{n}个商品
        {p}商品毛利排名前{n}
        """,
        en="""
        Top {n} products by gross profit in {p}
        The {n} products with the highest gross profit in {p}
        Which {n} products made the most gross profit in {p}?
        """,
        n=(3, 4, 5, 6, 8, 10),
        held_out=True,
    ),
    pattern(
        "monthly_net_revenue_of_region",
        """select substr(dt,1,7), sum(amt-disc)/100.0 from orders join stores using(sid)
        where st='P7' and rg='{rg}' and dt like '{y}%' group by 1""",
        zh="""
        {y}{rg}每月净收入
        按月看{y}{rg}净收入
        {rg}{y}各月净收入
        """,
        en="""
        Monthly net revenue of {rg} in {y}
        {rg} net revenue by month in {y}
        Break down {y} net revenue of {rg} by month
        """,
        held_out=True,
    ),
    pattern(
        "sales_of_category_by_channel",
        """select ch, sum(rev)/100.0 from sales_records join orders using(oid)
        join products using(pid) where kd='D1' and cat='{cat}' and sd like '{y}%' group by ch""",
        zh="""
        {y}{cat}类各渠道销售额
        按渠道看{y}{cat}类销售额
        {cat}类{y}每个渠道卖了多少钱
        """,
        en="""
        Sales of {cat} products by channel in {y}
        {cat} sales per channel for {y}
        Break down {y} {cat} sales by channel
        """,
        held_out=True,
    ),
    pattern(
        "top_reps_of_channel",
        """select ename, sum(amt-disc)/100.0 from orders join reps using(eid)
        where st='P7' and ch='{ch}' and dt like '{y}%' group by eid order by 2 desc limit {n}""",
        zh="""
        {y}{ch}渠道净收入前{n}的销售员
        列出{ch}渠道{y}净收入最高的{n}名销售员
        {y}销售员{ch}净收入排名前{n}
        """,
        en="""
        Top {n} sales reps by {ch} net revenue in {y}
        Which {n} reps brought the most {ch} net revenue in {y}?
        The {n} reps with the highest net revenue via {ch} in {y}
        """,
        n=(3, 4, 5, 6, 8, 10),
        held_out=True,
    ),
    pattern(
        "inactive_customers_by_region",
        """select rg, count(*) from customers where del=0
        and cid not in (select cid from orders where dt like '{p}%') group by rg""",
        zh="""
        {p}没下单的客户各大区有多少
        按大区统计{p}没有订单的客户数
        {p}各大区没下过单的客户数
        """,
        en="""
        Customers without orders in {p}, by region
        How many customers did not order in {p} in each region?
        Number of customers with no order in {p} per region
        """,
        held_out=True,
    ),
    pattern(
        "discount_rate_by_channel",
        """select ch, sum(disc)*1.0/sum(amt) from orders
        where st='P7' and dt like '{p}%' group by ch""",
        zh="""
        {p}各渠道折扣率
        按渠道看{p}折扣率
        {p}每个渠道的折扣率
        """,
        en="""
        Discount rate by channel in {p}
        What was the discount rate of each channel in {p}?
        Break down the {p} discount rate by channel
        """,
        held_out=True,
    ),
)
