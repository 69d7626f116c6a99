"""Questions about sales reps: `gone` is 1 for one who has left; grades are coded."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "top_reps",
        """select ename, sum(amt-disc)/100.0 from orders join reps using(eid)
        where st='P7' and dt like '{p}%' group by eid order by 2 desc limit {n}""",
        zh="""
        {p}净收入前{n}的销售员
        {p}净收入最多的{n}个销售员
        列出{p}净收入最高的{n}名销售员
        {p}销售员净收入排名前{n}
        谁是{p}净收入前{n}的销售员
        {p}净收入最高的前{n}位销售员
        {p}前{n}名销售员及净收入
        """,
        en="""
        Top {n} sales reps by net revenue in {p}
        Who were the top {n} reps in {p}?
        The {n} reps with the highest net revenue in {p}
        List our {n} best sales reps of {p} by net revenue
        Which {n} sales reps brought the most net revenue in {p}?
        {p}: top {n} sales reps
        Show the {n} best reps in {p}
        """,
        n=(3, 4, 5, 6, 8, 10, 12, 15),
    ),
    pattern(
        "net_revenue_of_rep",
        """select sum(amt-disc)/100.0 from orders join reps using(eid)
        where st='P7' and ename='{rep}' and dt like '{y}%'""",
        zh="""
        销售员{rep}{y}的净收入
        {y}销售员{rep}净收入多少
        销售员{rep}{y}做了多少净收入
        查销售员{rep}在{y}的净收入
        {rep}这个销售员{y}净收入是多少
        统计销售员{rep}{y}净收入
        销售员{rep}{y}一共多少净收入
        """,
        en="""
        Net revenue of sales rep {rep} in {y}
        How much net revenue did rep {rep} make in {y}?
        What was sales rep {rep}'s net revenue in {y}?
        Rep {rep}: net revenue for {y}
        Total net revenue of rep {rep} in {y}
        Show {y} net revenue for sales rep {rep}
        {y} net revenue of rep {rep}
        """,
    ),
    pattern(
        "reps_in_store",
        "select ename from reps join stores using(sid) where gone=0 and sname='{store}'",
        zh="""
        {store}有哪些销售员
        {store}的在职销售员名单
        列出{store}的销售员
        谁在{store}做销售员
        查{store}的在职销售员
        门店{store}现在有哪些销售员
        {store}在职销售员都有谁
        """,
        en="""
        Which sales reps work at {store}?
        Sales reps of store {store}
        List the current reps at {store}
        Who are the sales reps at {store}?
        Names of the reps at store {store}
        Show the sales reps working at {store}
        {store}: which reps work there?
        """,
    ),
    pattern(
        "reps_of_grade_in_region",
        """select count(*) from reps join stores using(sid)
        where gone=0 and grd='{grd}' and rg='{rg}'""",
        zh="""
        {rg}有多少{grd}销售员
        {rg}的{grd}销售员有几个
        统计{rg}{grd}销售员人数
        {rg}在职的{grd}销售员有几位
        查一下{rg}{grd}销售员数量
        帮我数数{rg}的{grd}销售员
        {grd}销售员在{rg}有多少
        """,
        en="""
        How many {grd} reps work in {rg}?
        Number of {grd} sales reps in {rg}
        Count the {grd} reps in {rg}
        How many {grd} sales reps do we have in {rg}?
        {rg}: how many {grd} reps?
        Show the {grd} rep count for {rg}
        How many {grd} sales reps are there in {rg}?
        """,
    ),
    pattern(
        "longest_serving_reps",
        "select ename, hired from reps where gone=0 and grd='{grd}' order by hired limit {n}",
        zh="""
        入职最早的{n}个{grd}销售员
        {grd}销售员中资历最老的{n}位
        列出入职最早的{n}名{grd}销售员
        最早入职的{n}个{grd}销售员是谁
        工龄最长的{n}位{grd}销售员
        {grd}销售员里入职最早的{n}人
        看看最早入职的{n}位{grd}销售员
        """,
        en="""
        The {n} longest serving {grd} reps
        Which {n} {grd} reps were hired first?
        List the {n} earliest hired {grd} sales reps
        Who are the {n} longest serving {grd} sales reps?
        {n} {grd} reps with the earliest hire date
        Show the {n} {grd} reps who were hired first
        First {n} {grd} reps to be hired
        """,
        n=(3, 4, 5, 6, 7, 8, 9, 10),
    ),
    pattern(
        "reps_without_orders",
        """select ename from reps where gone=0 and grd='{grd}'
        and eid not in (select eid from orders where dt like '{m}%')""",
        zh="""
        {m}没有订单的{grd}销售员
        哪些{grd}销售员{m}没有开单
        列出{m}没开单的{grd}销售员
        {m}一单没开的{grd}销售员有谁
        {grd}销售员中{m}没有订单的
        找出{m}没有订单的{grd}销售员
        {m}哪些{grd}销售员没接到订单
        """,
        en="""
        Which {grd} reps had no orders in {m}?
        {grd} sales reps without orders in {m}
        List {grd} reps with no order in {m}
        Which {grd} sales reps did not get an order in {m}?
        {m}: {grd} reps without any orders
        Find {grd} reps that had no order in {m}
        Show {grd} sales reps with zero orders in {m}
        """,
    ),
    pattern(
        "orders_of_rep_and_status",
        """select count(*) from orders join reps using(eid)
        where st='{st}' and ename='{rep}'""",
        zh="""
        销售员{rep}{st}的订单有多少
        销售员{rep}有多少{st}订单
        统计销售员{rep}{st}的订单数
        销售员{rep}{st}订单几个
        {rep}这个销售员{st}的单有几笔
        查销售员{rep}{st}订单数量
        看看销售员{rep}有几个{st}订单
        """,
        en="""
        How many {st} orders does sales rep {rep} have?
        Number of {st} orders of rep {rep}
        Count the {st} orders of sales rep {rep}
        How many orders of rep {rep} are {st}?
        Rep {rep}: number of {st} orders
        Show the count of {st} orders for sales rep {rep}
        How many {st} orders are there for rep {rep}?
        """,
    ),
    pattern(
        "net_revenue_of_grade",
        """select sum(amt-disc)/100.0 from orders join reps using(eid)
        where st='P7' and grd='{grd}' and dt like '{p}%'""",
        zh="""
        {p}{grd}销售员的净收入
        {grd}销售员{p}做了多少净收入
        {p}{grd}销售员净收入是多少
        查{grd}销售员在{p}的净收入
        {grd}销售员{p}一共多少净收入
        统计{p}{grd}销售员净收入
        {p}{grd}销售员带来多少净收入
        """,
        en="""
        Net revenue of {grd} reps in {p}
        How much net revenue did {grd} reps make in {p}?
        What was the net revenue of {grd} sales reps in {p}?
        {grd} reps: net revenue for {p}
        Total net revenue of {grd} sales reps in {p}
        Show {p} net revenue for {grd} reps
        {p} net revenue of {grd} reps
        """,
    ),
)
