"""Questions about returned goods: reasons are coded, `back` is the refund in cents."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "returns_for_reason",
        "select count(*) from returns where rsn='{rsn}' and rdt like '{p}%'",
        zh="""
        {p}因{rsn}退货多少次
        {p}因{rsn}的退货数
        统计{p}因{rsn}退货的次数
        {p}有几次退货是因为{rsn}
        因{rsn}退货的{p}有几笔
        查{p}{rsn}导致的退货数
        {p}因为{rsn}退了几次货
        """,
        en="""
        How many returns were due to {rsn} in {p}?
        Number of returns for {rsn} in {p}
        Count the {p} returns caused by {rsn}
        Returns because of {rsn} in {p}: how many?
        How many items came back for {rsn} in {p}?
        {p}: number of returns due to {rsn}
        How many {p} returns were because of {rsn}?
        """,
    ),
    pattern(
        "refunds_by_reason",
        "select rsn, sum(back)/100.0 from returns where rdt like '{p}%' group by rsn",
        zh="""
        {p}各退货原因的退款额
        {p}每种退货原因退款多少
        按退货原因看{p}退款额
        {p}退款额按原因汇总
        各原因在{p}的退款额分别多少
        {p}不同退货原因的退款额
        统计{p}各原因退款额
        """,
        en="""
        Refunds by return reason in {p}
        How much did we refund for each reason in {p}?
        Refund amount per return reason for {p}
        Break down {p} refunds by reason
        Show {p} refunds for each return reason
        What were the refunds per reason in {p}?
        {p} refunds split by reason
        """,
    ),
    pattern(
        "refunds_of_category",
        """select sum(back)/100.0 from returns join products using(pid)
        where cat='{cat}' and rdt like '{p}%'""",
        zh="""
        {p}{cat}类的退款额
        {cat}类{p}退款额多少
        {p}{cat}类商品退款额是多少
        查{cat}类在{p}的退款额
        {cat}类{p}一共退了多少钱
        统计{p}{cat}类退款额
        {p}{cat}类商品退款多少钱
        """,
        en="""
        Refunds for {cat} products in {p}
        What were the {cat} refunds in {p}?
        How much did we refund on {cat} products in {p}?
        {cat} category refunds for {p}
        Total refunds of {cat} products in {p}
        Show me {cat} product refunds in {p}
        {p}: refunds of the {cat} category
        """,
    ),
    pattern(
        "refunds_of_region",
        """select sum(back)/100.0 from returns join orders using(oid) join stores using(sid)
        where rg='{rg}' and rdt like '{p}%'""",
        zh="""
        {p}{rg}的退款额
        {rg}{p}退款额多少
        {p}{rg}大区退款额是多少
        查{rg}在{p}的退款额
        {rg}大区{p}一共退了多少钱
        统计{p}{rg}退款额
        {rg}{p}退款多少钱
        """,
        en="""
        Refunds of {rg} in {p}
        What were the refunds in {rg} in {p}?
        How much did {rg} refund in {p}?
        {rg} refunds for {p}
        Total refunds in {rg} for {p}
        Show me {rg} refunds in {p}
        {p}: refunds of {rg}
        """,
    ),
    pattern(
        "most_returned_products",
        """select pname, sum(back)/100.0 from returns join products using(pid)
        where rsn='{rsn}' and rdt like '{y}%' group by pid order by 2 desc limit {n}""",
        zh="""
        {y}因{rsn}退款最多的{n}个商品
        {y}因{rsn}退款额前{n}的商品
        列出{y}因{rsn}退款最高的{n}个商品
        哪{n}个商品{y}因{rsn}退款最多
        {y}因{rsn}退款的商品排名前{n}
        {y}哪{n}个商品因{rsn}退款最多
        查{y}因{rsn}退款前{n}的商品
        """,
        en="""
        Top {n} products by refunds for {rsn} in {y}
        The {n} products with the most refunds due to {rsn} in {y}
        Which {n} products had the highest {y} refunds for {rsn}?
        List the {n} products most refunded for {rsn} in {y}
        {y}: top {n} products by refunds due to {rsn}
        Show the {n} products with the highest refunds for {rsn} in {y}
        Which {n} products were refunded most because of {rsn} in {y}?
        """,
        n=(3, 4, 5, 6, 8, 10),
    ),
    pattern(
        "return_rate_of_channel",
        """select avg(oid in (select oid from returns)) from orders
        where st='P7' and ch='{ch}' and dt like '{p}%'""",
        zh="""
        {p}{ch}渠道的退货率
        {ch}渠道{p}退货率多少
        {p}{ch}订单退货率
        查{ch}渠道在{p}的退货率
        {p}{ch}订单退货的比例
        {ch}渠道{p}订单退货占比
        看看{p}{ch}渠道退货率
        """,
        en="""
        Return rate of the {ch} channel in {p}
        What was the {ch} return rate in {p}?
        What share of {ch} orders was returned in {p}?
        {ch} return rate for {p}
        Show the {ch} order return rate in {p}
        {p}: return rate of {ch} orders
        Rate of returns for {ch} in {p}
        """,
    ),
    pattern(
        "quick_returns",
        """select count(*) from returns join orders using(oid)
        where rsn='{rsn}' and julianday(rdt)-julianday(dt)<={k}""",
        zh="""
        下单{k}天内因{rsn}退货的有几次
        有多少次因{rsn}在{k}天内退货
        {k}天之内因{rsn}退货的次数
        统计下单后{k}天内因{rsn}的退货
        因{rsn}且在{k}天内退货的有多少
        {k}天内因{rsn}退了几次货
        查{k}天内因{rsn}退货的数量
        """,
        en="""
        How many returns for {rsn} came within {k} days?
        Returns due to {rsn} within {k} days of the order
        Number of {rsn} returns within {k} days
        Count returns for {rsn} made within {k} days
        How many items came back within {k} days for {rsn}?
        Returns within {k} days because of {rsn}: how many?
        How many orders were returned within {k} days due to {rsn}?
        """,
        k=(3, 5, 7, 8, 10, 12, 14, 15, 20, 21),
    ),
    pattern(
        "customers_with_returns",
        """select count(*) from customers where del=0 and lvl='{lvl}'
        and cid in (select cid from orders join returns using(oid) where rsn='{rsn}')""",
        zh="""
        因{rsn}退过货的{lvl}客户有多少
        有几个{lvl}客户因{rsn}退过货
        {lvl}客户中因{rsn}退过货的人数
        统计因{rsn}退货的{lvl}客户数
        多少{lvl}客户因为{rsn}退过货
        查因{rsn}退过货的{lvl}客户数量
        {lvl}客户有几个因{rsn}退货
        """,
        en="""
        How many {lvl} customers returned something for {rsn}?
        Number of {lvl} customers with a return due to {rsn}
        Count {lvl} customers who returned goods because of {rsn}
        How many {lvl} customers had a return for {rsn}?
        {lvl} customers with returns for {rsn}: how many?
        How many {lvl} customers sent something back due to {rsn}?
        {lvl} customer count with returns because of {rsn}
        """,
    ),
    pattern(
        "returns_for_reason_by_category",
        """select cat, count(*) from returns join products using(pid)
        where rsn='{rsn}' and rdt like '{p}%' group by cat""",
        zh="""
        {p}各品类因{rsn}退货多少次
        {p}每个品类因{rsn}的退货数
        按品类统计{p}因{rsn}的退货
        {p}因{rsn}的退货按品类汇总
        各品类在{p}因{rsn}退货几次
        {p}不同品类因{rsn}的退货数
        看{p}各品类因{rsn}的退货数
        """,
        en="""
        Returns due to {rsn} by category in {p}
        How many returns for {rsn} did each category have in {p}?
        Number of {rsn} returns per category in {p}
        Break down the {p} returns due to {rsn} by category
        Show {p} returns because of {rsn} for each category
        {p} returns for {rsn} split by category
        Count returns due to {rsn} per category for {p}
        """,
    ),
)
