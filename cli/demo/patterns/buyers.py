"""Questions that join orders with their customers, or ask for customers without orders."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "net_revenue_of_tier",
        """select sum(amt-disc)/100.0 from orders join customers using(cid)
        where st='P7' and lvl='{lvl}' and dt like '{p}%'""",
        zh="""
        {p}{lvl}客户的净收入
        {lvl}客户{p}带来多少净收入
        {p}来自{lvl}客户的净收入是多少
        查{p}{lvl}客户贡献的净收入
        {lvl}客户在{p}净收入多少
        统计{p}{lvl}客户净收入
        {p}{lvl}客户一共多少净收入
        """,
        en="""
        Net revenue from {lvl} customers in {p}
        How much net revenue did {lvl} customers bring in {p}?
        What was the net revenue of {lvl} customers in {p}?
        {lvl} customers' net revenue for {p}
        Total net revenue of {lvl} customers in {p}
        Show net revenue from {lvl} customers for {p}
        {p}: net revenue from {lvl} customers
        """,
    ),
    pattern(
        "net_revenue_by_tier",
        """select lvl, sum(amt-disc)/100.0 from orders join customers using(cid)
        where st='P7' and dt like '{p}%' group by lvl""",
        zh="""
        {p}各等级客户净收入
        {p}每个等级客户的净收入
        按客户等级看{p}净收入
        {p}净收入按客户等级汇总
        各等级客户{p}净收入分别多少
        {p}不同等级客户的净收入
        统计{p}各客户等级的净收入
        """,
        en="""
        Net revenue by customer tier in {p}
        What was the net revenue of each tier in {p}?
        Net revenue per customer tier for {p}
        Break down {p} net revenue by tier
        Show {p} net revenue for each customer tier
        How much net revenue did each tier bring in {p}?
        {p} net revenue split by customer tier
        """,
    ),
    pattern(
        "top_customers",
        """select cname, sum(amt-disc)/100.0 from orders join customers using(cid)
        where st='P7' and dt like '{p}%' group by cid order by 2 desc limit {n}""",
        zh="""
        {p}净收入前{n}的客户
        {p}贡献净收入最多的{n}个客户
        列出{p}净收入最高的{n}个客户
        {p}客户净收入排名前{n}
        谁是{p}净收入前{n}的客户
        {p}净收入最高的前{n}名客户
        {p}前{n}大客户及净收入
        """,
        en="""
        Top {n} customers by net revenue in {p}
        Who were the top {n} customers in {p}?
        The {n} customers with the highest net revenue in {p}
        List our {n} best customers of {p} by net revenue
        Which {n} customers brought the most net revenue in {p}?
        {p}: top {n} customers
        Show the {n} biggest customers in {p}
        """,
        n=(3, 4, 5, 6, 8, 10, 12, 15),
    ),
    pattern(
        "net_revenue_of_customer",
        """select sum(amt-disc)/100.0 from orders join customers using(cid)
        where st='P7' and cname='{cust}'""",
        zh="""
        客户{cust}的净收入总额
        客户{cust}一共带来多少净收入
        查客户{cust}的总净收入
        {cust}这个客户贡献了多少净收入
        客户{cust}累计净收入
        来自客户{cust}的净收入
        客户{cust}净收入是多少
        """,
        en="""
        Net revenue from customer {cust}
        How much net revenue did customer {cust} bring?
        Total net revenue of customer {cust}
        What is the net revenue of customer {cust}?
        Customer {cust}: total net revenue
        Show net revenue for customer {cust}
        What net revenue have we made with customer {cust}?
        """,
    ),
    pattern(
        "orders_of_customer",
        """select count(*) from orders join customers using(cid)
        where cname='{cust}' and dt like '{y}%'""",
        zh="""
        客户{cust}{y}下了多少单
        {y}客户{cust}的订单数
        客户{cust}在{y}下过几次单
        查客户{cust}{y}的订单数量
        {cust}这个客户{y}有几个订单
        统计客户{cust}{y}的订单数
        客户{cust}{y}订单有几笔
        """,
        en="""
        How many orders did customer {cust} place in {y}?
        Number of orders from customer {cust} in {y}
        Orders of customer {cust} in {y}: how many?
        How often did customer {cust} order in {y}?
        Count the orders of customer {cust} in {y}
        Customer {cust}: order count for {y}
        How many {y} orders does customer {cust} have?
        """,
    ),
    pattern(
        "last_order_of_customer",
        "select max(dt) from orders join customers using(cid) where cname='{cust}'",
        zh="""
        客户{cust}最后一次下单是什么时候
        客户{cust}最近一次下单日期
        查客户{cust}最后下单时间
        {cust}这个客户最近哪天下的单
        客户{cust}上次下单是哪天
        客户{cust}最近的订单日期
        看下客户{cust}最后一单的日期
        """,
        en="""
        When did customer {cust} last order?
        Last order date of customer {cust}
        When was customer {cust}'s last order?
        Date of the latest order from customer {cust}
        Customer {cust}: date of the last order
        Most recent order date of customer {cust}
        On which day did customer {cust} order last?
        """,
    ),
    pattern(
        "frequent_customers_of_tier",
        """select cname from orders join customers using(cid)
        where lvl='{lvl}' and dt like '{y}%' group by cid having count(*)>{k}""",
        zh="""
        {y}下单超过{k}次的{lvl}客户是谁
        列出{y}下单超过{k}次的{lvl}客户
        哪些{lvl}客户{y}下单超过{k}次
        {y}下单多于{k}次的{lvl}客户名单
        {lvl}客户中{y}下单超过{k}次的有谁
        {y}订单多于{k}个的{lvl}客户
        找出{y}订单超过{k}个的{lvl}客户
        """,
        en="""
        Which {lvl} customers placed more than {k} orders in {y}?
        {lvl} customers with more than {k} orders in {y}
        List {lvl} customers who ordered over {k} times in {y}
        Which {lvl} customers ordered more than {k} times in {y}?
        Names of {lvl} customers with over {k} orders in {y}
        {y}: {lvl} customers with more than {k} orders
        Show the {lvl} customers who had over {k} orders in {y}
        """,
        k=(2, 3, 4),
    ),
    pattern(
        "customers_above_net_revenue",
        """select cname from orders join customers using(cid) where st='P7' and dt like '{y}%'
        group by cid having sum(amt-disc)>{v}*100""",
        zh="""
        {y}净收入超过{v}元的客户
        哪些客户{y}净收入超过{v}元
        {y}净收入高于{v}元的客户有哪些
        列出{y}净收入大于{v}元的客户
        {y}贡献净收入超过{v}元的客户名单
        找出{y}净收入高于{v}元的客户
        {y}哪些客户带来的净收入过{v}元
        """,
        en="""
        Which customers brought more than {v} yuan net revenue in {y}?
        Customers with net revenue over {v} yuan in {y}
        List customers above {v} yuan net revenue in {y}
        Which customers exceeded {v} yuan in net revenue in {y}?
        {y} customers with more than {v} yuan net revenue
        Show customers whose {y} net revenue passed {v} yuan
        Customers who made us over {v} yuan net in {y}
        """,
        v=(1600, 1800, 2200, 2400, 2600, 2800),
    ),
    pattern(
        "customers_who_never_ordered",
        """select cname from customers where del=0 and lvl='{lvl}' and rg='{rg}'
        and cid not in (select cid from orders)""",
        zh="""
        {rg}从没下过单的{lvl}客户
        {rg}哪些{lvl}客户从未下单
        列出{rg}从未下单的{lvl}客户
        {rg}的{lvl}客户里谁没下过单
        找出{rg}没有订单的{lvl}客户
        {rg}一单都没下过的{lvl}客户有谁
        {lvl}客户中{rg}从没下单的名单
        """,
        en="""
        Which {lvl} customers in {rg} have never ordered?
        {lvl} customers in {rg} without any order
        List {rg} {lvl} customers who never ordered
        {lvl} customers of {rg} with no orders
        Who are the {lvl} customers in {rg} that never ordered?
        {rg}: {lvl} customers who have never placed an order
        Find {lvl} customers in {rg} with no orders at all
        """,
    ),
    pattern(
        "inactive_customers_of_tier",
        """select count(*) from customers where del=0 and lvl='{lvl}'
        and cid not in (select cid from orders where dt like '{p}%')""",
        zh="""
        {p}没下单的{lvl}客户有多少
        有多少{lvl}客户{p}没有下单
        {p}没有订单的{lvl}客户数
        统计{p}没下过单的{lvl}客户
        {lvl}客户中{p}没下单的有几个
        {p}几个{lvl}客户没有下单
        查{p}未下单的{lvl}客户数
        """,
        en="""
        How many {lvl} customers did not order in {p}?
        Number of {lvl} customers without orders in {p}
        Count {lvl} customers who placed no order in {p}
        How many {lvl} customers had no orders in {p}?
        {lvl} customers with no order in {p}: how many?
        {p}: number of {lvl} customers who didn't order
        How many {lvl} customers were inactive in {p}?
        """,
    ),
    pattern(
        "average_order_value_by_tier",
        """select lvl, avg(amt-disc)/100.0 from orders join customers using(cid)
        where st='P7' and ch='{ch}' and dt like '{p}%' group by lvl""",
        zh="""
        {p}{ch}渠道各等级客户的客单价
        {ch}渠道{p}每个等级的客单价
        按客户等级看{p}{ch}客单价
        {p}{ch}客单价按等级汇总
        {p}{ch}各等级平均每单多少钱
        各等级客户{p}{ch}渠道客单价
        统计{ch}渠道{p}各等级客单价
        """,
        en="""
        Average order value by tier for {ch} in {p}
        {ch} AOV of each customer tier in {p}
        What was the {ch} average order value per tier in {p}?
        Average {ch} order value by customer tier in {p}
        {p} {ch} AOV by tier
        Show {ch} average order value for each tier in {p}
        Break down the {ch} AOV of {p} by tier
        """,
    ),
)
