"""Questions about customers alone: a customer whose `del` is 1 is gone and is never counted."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "customers_of_tier_in_region",
        "select count(*) from customers where del=0 and lvl='{lvl}' and rg='{rg}'",
        zh="""
        {rg}有多少{lvl}客户
        {rg}的{lvl}客户有几个
        统计{rg}的{lvl}客户数
        {rg}现在有几位{lvl}客户
        查一下{rg}{lvl}客户数量
        帮我数数{rg}的{lvl}客户
        {lvl}客户在{rg}有多少个
        """,
        en="""
        How many {lvl} customers are in {rg}?
        Number of {lvl} customers in {rg}
        Count the {lvl} customers in {rg}
        How many {lvl} customers do we have in {rg}?
        {rg}: how many {lvl} customers?
        Show me the {lvl} customer count for {rg}
        What is our {lvl} customer count in {rg}?
        """,
    ),
    pattern(
        "new_customers_in_region",
        "select count(*) from customers where del=0 and rg='{rg}' and joined like '{p}%'",
        zh="""
        {p}{rg}新增了多少客户
        {rg}{p}新客户有多少
        {p}{rg}的新增客户数
        统计{p}{rg}新注册的客户数
        {rg}在{p}来了几个新客户
        {p}在{rg}注册的客户有几个
        看看{rg}{p}的新客户数量
        """,
        en="""
        How many new customers did {rg} get in {p}?
        New customers in {rg} in {p}
        Number of customers who joined in {p} in {rg}
        How many customers from {rg} joined in {p}?
        Count new {rg} customers for {p}
        {p}: new customer count for {rg}
        How many customers signed up in {rg} in {p}?
        """,
    ),
    pattern(
        "new_customers_by_tier",
        "select lvl, count(*) from customers where del=0 and joined like '{p}%' group by lvl",
        zh="""
        {p}各等级新增客户数
        {p}新客户按等级分别有多少
        按等级统计{p}的新客户
        {p}每个等级新增多少客户
        {p}注册的客户各等级各有几个
        {p}新增客户的等级分布
        看一下{p}新客户等级分布
        """,
        en="""
        New customers by tier in {p}
        How many new customers per tier in {p}?
        Break down the new customers of {p} by tier
        {p} new customers for each tier
        Customers who joined in {p}, by tier
        How many customers joined in {p} in each tier?
        Tier split of new customers in {p}
        """,
    ),
    pattern(
        "tier_of_customer",
        "select lvl from customers where cname='{cust}'",
        zh="""
        客户{cust}是什么等级
        查客户{cust}的等级
        {cust}是哪个等级的客户
        客户{cust}现在什么等级
        {cust}这个客户的等级是什么
        看下客户{cust}属于哪个等级
        客户{cust}的会员等级
        """,
        en="""
        What tier is customer {cust}?
        Tier of customer {cust}
        Which tier is customer {cust} in?
        Look up the tier of customer {cust}
        Customer {cust}: which tier?
        What is customer {cust}'s tier?
        Show the tier for customer {cust}
        """,
    ),
    pattern(
        "region_of_customer",
        "select rname from customers join regions using(rg) where cname='{cust}'",
        zh="""
        客户{cust}在哪个大区
        客户{cust}属于哪个大区
        查客户{cust}所在大区
        {cust}这个客户是哪个大区的
        客户{cust}的大区名称
        客户{cust}归哪个大区
        看下客户{cust}在什么大区
        """,
        en="""
        Which region is customer {cust} in?
        Region name of customer {cust}
        What region does customer {cust} belong to?
        Customer {cust}: which region?
        Look up the region of customer {cust}
        In which region is customer {cust}?
        Name the region of customer {cust}
        """,
    ),
    pattern(
        "newest_customers_in_region",
        """select cname, joined from customers where del=0 and rg='{rg}'
        order by joined desc limit {n}""",
        zh="""
        {rg}最新注册的{n}个客户
        {rg}最近注册的{n}个客户是谁
        列出{rg}最新的{n}位客户
        {rg}最近加入的{n}个客户和日期
        看看{rg}最新{n}个客户
        {rg}最后注册的{n}个客户
        给我{rg}最近的{n}个新客户名单
        """,
        en="""
        The {n} newest customers in {rg}
        Who are the {n} latest customers in {rg}?
        List the {n} most recent customers in {rg}
        Show the {n} newest {rg} customers
        Last {n} customers to join in {rg}
        {rg}: {n} most recently joined customers
        Which {n} customers in {rg} joined last?
        """,
        n=(3, 4, 5, 6, 8, 10, 12, 15),
    ),
)
