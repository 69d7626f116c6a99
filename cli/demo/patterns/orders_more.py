"""More questions that the orders alone answer: buyers, shares, averages of sums, anti-joins."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "buyers_of_channel",
        "select count(distinct cid) from orders where ch='{ch}' and dt like '{p}%'",
        zh="""
        {p}{ch}渠道有多少买家
        {ch}渠道{p}买家数
        {p}{ch}下单的买家有几个
        统计{p}{ch}渠道的买家数
        {p}多少买家在{ch}渠道下过单
        {ch}渠道{p}有几位买家
        看看{p}{ch}买家人数
        """,
        en="""
        How many buyers did the {ch} channel have in {p}?
        Number of {ch} buyers in {p}
        Distinct buyers of the {ch} channel in {p}
        How many buyers ordered via {ch} in {p}?
        Count the {ch} buyers of {p}
        {p}: number of buyers in {ch}
        {ch} buyer count for {p}
        """,
    ),
    pattern(
        "channel_share_of_net_revenue",
        """select sum(case when ch='{ch}' then amt-disc end)*1.0/sum(amt-disc) from orders
        where st='P7' and dt like '{p}%'""",
        zh="""
        {p}{ch}渠道净收入占比
        {ch}渠道占{p}净收入的比例
        {p}净收入里{ch}渠道占多少
        {p}{ch}占总净收入几成
        查{ch}渠道在{p}净收入中的占比
        {ch}渠道{p}净收入份额
        {p}净收入中{ch}的比重
        """,
        en="""
        Share of {ch} in net revenue in {p}
        What share of {p} net revenue came from {ch}?
        {ch} share of net revenue for {p}
        What part of net revenue was {ch} in {p}?
        How large was the {ch} share of {p} net revenue?
        Proportion of net revenue from {ch} in {p}
        {p}: {ch} channel's share of net revenue
        """,
    ),
    pattern(
        "average_monthly_net_revenue",
        """select avg(t) from (select sum(amt-disc)/100.0 t from orders
        where st='P7' and ch='{ch}' and dt like '{y}%' group by substr(dt,1,7))""",
        zh="""
        {y}{ch}渠道月均净收入
        {ch}渠道{y}平均每月净收入
        {y}{ch}平均一个月净收入多少
        查{ch}渠道{y}的月均净收入
        {ch}渠道在{y}月平均净收入是多少
        {y}{ch}渠道净收入的月平均值
        看看{y}{ch}月均净收入
        """,
        en="""
        Average monthly net revenue of the {ch} channel in {y}
        What was the average monthly {ch} net revenue in {y}?
        {ch} net revenue per month on average in {y}
        Mean monthly net revenue of {ch} for {y}
        On average, how much net revenue did {ch} make a month in {y}?
        {y}: average monthly net revenue for {ch}
        Average net revenue a month from {ch} in {y}
        """,
    ),
    pattern(
        "buyers_of_one_channel_only",
        """select count(distinct cid) from orders where ch='{ch}'
        and cid not in (select cid from orders where ch='{ch2}')""",
        zh="""
        用过{ch}但没用过{ch2}渠道的买家数
        有多少买家在{ch}下过单但没在{ch2}下过
        {ch}买家中从没走过{ch2}的有几个
        只走{ch}不走{ch2}的买家有多少
        {ch}下过单但{ch2}没下过的买家
        统计买过{ch}没买过{ch2}的买家
        {ch}渠道买家里没用{ch2}的有多少
        """,
        en="""
        How many buyers used {ch} but never {ch2}?
        Buyers who ordered via {ch} but not via {ch2}
        Number of {ch} buyers without any {ch2} order
        Count buyers that bought {ch} but never {ch2}
        How many {ch} buyers never ordered via {ch2}?
        {ch} buyers who have not used {ch2}: how many?
        How many buyers order {ch} and not {ch2}?
        """,
    ),
    pattern(
        "weekend_orders",
        """select count(*) from orders where strftime('%w',dt) in ('0','6')
        and ch='{ch}' and dt like '{p}%'""",
        zh="""
        {p}{ch}渠道周末订单数
        {ch}渠道{p}周末有多少订单
        {p}周末{ch}下了多少单
        统计{p}周末的{ch}订单
        {p}{ch}周末订单有几个
        查{ch}渠道{p}周末的订单量
        {ch}在{p}的周末单量
        """,
        en="""
        How many weekend orders did {ch} get in {p}?
        Weekend orders of the {ch} channel in {p}
        Number of {ch} weekend orders in {p}
        Count {ch} orders placed on weekends in {p}
        {ch} weekend order count for {p}
        How many {ch} orders fell on a weekend in {p}?
        {p}: weekend orders via {ch}
        """,
    ),
    pattern(
        "customers_with_many_orders",
        """select count(*) from (select cid from orders where dt like '{y}%'
        group by cid having count(*)>{k})""",
        zh="""
        {y}下单超过{k}次的客户有多少
        有几个客户{y}下单超过{k}次
        {y}下单多于{k}次的客户数
        统计{y}下单超过{k}次的客户
        {y}有多少客户订单多于{k}个
        多少客户在{y}下单超过{k}次
        {y}订单数超过{k}的客户有几个
        """,
        en="""
        How many customers placed more than {k} orders in {y}?
        Number of customers with more than {k} orders in {y}
        Count the customers who ordered over {k} times in {y}
        How many customers ordered more than {k} times in {y}?
        Customers with over {k} orders in {y}: how many?
        {y}: number of customers with more than {k} orders
        How many customers had over {k} orders in {y}?
        """,
        k=(2, 3, 4, 5),
    ),
    pattern(
        "orders_of_channel_and_status",
        "select count(*) from orders where ch='{ch}' and st='{st}' and dt like '{y}%'",
        zh="""
        {y}{ch}渠道{st}的订单有多少
        {ch}渠道{y}有多少{st}订单
        统计{y}{ch}渠道{st}的订单数
        {y}{ch}渠道{st}订单几个
        {ch}渠道{y}{st}的单有几笔
        查{ch}渠道{y}{st}订单数量
        看看{y}{ch}渠道有几个{st}订单
        """,
        en="""
        How many {st} orders does the {ch} channel have in {y}?
        Number of {st} {ch} orders in {y}
        Count the {st} orders of the {ch} channel in {y}
        How many {ch} orders of {y} are {st}?
        {ch} channel: number of {st} orders in {y}
        Show the count of {st} {ch} orders for {y}
        How many {st} {ch} orders are there in {y}?
        """,
    ),
)
