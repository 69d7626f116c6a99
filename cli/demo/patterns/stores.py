"""Questions about stores and regions: an order counts for its store's region; `shut` is closed."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "net_revenue_of_region",
        """select sum(amt-disc)/100.0 from orders join stores using(sid)
        where st='P7' and rg='{rg}' and dt like '{p}%'""",
        zh="""
        {p}{rg}的净收入
        {rg}{p}净收入多少
        {p}{rg}大区净收入是多少
        查{rg}在{p}的净收入
        {rg}大区{p}一共多少净收入
        统计{p}{rg}净收入
        {rg}{p}做了多少净收入
        """,
        en="""
        Net revenue of {rg} in {p}
        What was the net revenue in {rg} in {p}?
        How much net revenue did {rg} make in {p}?
        {rg} net revenue for {p}
        Total net revenue in {rg} for {p}
        Show me {rg} net revenue in {p}
        {p}: net revenue of {rg}
        """,
    ),
    pattern(
        "net_revenue_by_region",
        """select rg, sum(amt-disc)/100.0 from orders join stores using(sid)
        where st='P7' and ch='{ch}' and dt like '{p}%' group by rg""",
        zh="""
        {p}{ch}渠道各大区净收入
        {ch}渠道{p}每个大区净收入
        按大区看{p}{ch}渠道净收入
        {p}{ch}净收入按大区汇总
        各大区{p}{ch}渠道净收入多少
        {p}不同大区的{ch}净收入
        统计{ch}渠道{p}各大区净收入
        """,
        en="""
        {ch} net revenue by region in {p}
        Net revenue of each region from {ch} in {p}
        {ch} net revenue per region for {p}
        Break down {p} {ch} net revenue by region
        Show {ch} net revenue for each region in {p}
        How much {ch} net revenue did each region make in {p}?
        {p} {ch} net revenue split by region
        """,
    ),
    pattern(
        "top_stores",
        """select sname, sum(amt-disc)/100.0 from orders join stores using(sid)
        where st='P7' and dt like '{p}%' group by sid order by 2 desc limit {n}""",
        zh="""
        {p}净收入前{n}的门店
        {p}净收入最多的{n}家门店
        列出{p}净收入最高的{n}家门店
        {p}门店净收入排名前{n}
        哪{n}家门店{p}净收入最高
        {p}净收入最高的前{n}家门店
        {p}前{n}名门店及净收入
        """,
        en="""
        Top {n} stores by net revenue in {p}
        Which were the top {n} stores in {p}?
        The {n} stores with the highest net revenue in {p}
        List our {n} best stores of {p} by net revenue
        Which {n} stores made the most net revenue in {p}?
        {p}: top {n} stores
        Show the {n} best stores in {p}
        """,
        n=(3, 4, 5, 6, 8, 10, 12, 15),
    ),
    pattern(
        "net_revenue_of_store",
        """select sum(amt-disc)/100.0 from orders join stores using(sid)
        where st='P7' and sname='{store}' and dt like '{p}%'""",
        zh="""
        {store}{p}的净收入
        门店{store}{p}净收入多少
        {p}{store}净收入是多少
        查{store}在{p}的净收入
        {store}{p}一共多少净收入
        统计门店{store}{p}净收入
        {store}{p}做了多少净收入
        """,
        en="""
        Net revenue of store {store} in {p}
        What was the net revenue at {store} in {p}?
        How much net revenue did store {store} make in {p}?
        {store} net revenue for {p}
        Total net revenue at {store} in {p}
        Show net revenue for store {store} in {p}
        {p}: net revenue of {store}
        """,
    ),
    pattern(
        "cancellation_rate_by_store",
        """select sname, avg(st='P9') from orders join stores using(sid)
        where rg='{rg}' and dt like '{p}%' group by sid""",
        zh="""
        {p}{rg}各门店取消率
        {rg}{p}每家门店的取消率
        按门店看{rg}{p}的取消率
        {p}{rg}取消率按门店汇总
        {rg}各门店{p}取消率多少
        {p}{rg}每家店订单取消率
        统计{rg}{p}各门店的取消率
        """,
        en="""
        Cancellation rate by store in {rg} in {p}
        Cancellation rate of each {rg} store in {p}
        What was the cancellation rate per store in {rg} in {p}?
        {rg} cancellation rate by store for {p}
        Show the cancellation rate for each store of {rg} in {p}
        {p}: cancellation rate per {rg} store
        Break down the {p} cancellation rate of {rg} by store
        """,
    ),
    pattern(
        "stores_below_net_revenue",
        """select sname from orders join stores using(sid) where st='P7' and dt like '{y}%'
        group by sid having sum(amt-disc)<{v}*100""",
        zh="""
        {y}净收入低于{v}元的门店
        哪些门店{y}净收入不到{v}元
        {y}净收入少于{v}元的门店有哪些
        列出{y}净收入低于{v}元的门店
        {y}哪些门店净收入低于{v}元
        找出{y}净收入不足{v}元的门店
        {y}净收入没到{v}元的门店
        """,
        en="""
        Which stores made less than {v} yuan net revenue in {y}?
        Stores with net revenue below {v} yuan in {y}
        List stores under {v} yuan net revenue in {y}
        Which stores stayed below {v} yuan in net revenue in {y}?
        {y} stores with less than {v} yuan net revenue
        Show stores whose {y} net revenue was under {v} yuan
        Find stores below {v} yuan net revenue for {y}
        """,
        v=(3500, 4500, 5500, 6500, 7500, 8500),
    ),
    pattern(
        "net_revenue_per_square_metre",
        """select sname, sum(amt-disc)/100.0/size from orders join stores using(sid)
        where st='P7' and dt like '{p}%' group by sid order by 2 desc limit {n}""",
        zh="""
        {p}坪效前{n}的门店
        {p}坪效最高的{n}家门店
        列出{p}坪效最高的{n}家门店
        {p}门店坪效排名前{n}
        哪{n}家门店{p}坪效最高
        {p}坪效前{n}名是哪些门店
        看{p}坪效最好的{n}家门店
        """,
        en="""
        Top {n} stores by net revenue per square metre in {p}
        Which {n} stores made the most per square metre in {p}?
        The {n} stores with the highest revenue per square metre in {p}
        List the {n} best stores per square metre in {p}
        {p}: top {n} stores per square metre
        Show the {n} stores with the best net revenue per square metre in {p}
        Best {n} stores by square metre net revenue in {p}
        """,
        n=(3, 4, 5, 6, 8, 10, 12, 15),
    ),
    pattern(
        "head_of_store_region",
        "select head from regions join stores using(rg) where sname='{store}'",
        zh="""
        {store}的大区负责人是谁
        谁是{store}所在大区的负责人
        查{store}的大区负责人
        {store}归哪个大区负责人管
        门店{store}的大区负责人叫什么
        {store}所属大区负责人
        管{store}的大区负责人是谁
        """,
        en="""
        Who is the region head of {store}?
        Region head for store {store}
        Which region head is in charge of {store}?
        Who heads the region of store {store}?
        Name the region head of {store}
        Look up the region head of store {store}
        {store}: who is the region head?
        """,
    ),
    pattern(
        "stores_larger_than_store",
        """select sname from stores where shut=0 and rg='{rg}'
        and size>(select size from stores where sname='{store}')""",
        zh="""
        {rg}哪些门店面积比{store}大
        {rg}比{store}大的门店
        列出{rg}面积超过{store}的门店
        {rg}有哪些门店比{store}面积大
        面积大于{store}的{rg}门店
        找出{rg}比{store}更大的门店
        {rg}门店中面积大过{store}的
        """,
        en="""
        Which stores in {rg} are larger than {store}?
        Stores in {rg} bigger than {store}
        List {rg} stores larger than {store}
        {rg} stores with more space than {store}
        Which {rg} stores are bigger than {store}?
        Find stores in {rg} with a larger area than {store}
        Show {rg} stores that are larger than {store}
        """,
    ),
    pattern(
        "stores_without_channel_orders",
        """select sname from stores where shut=0
        and sid not in (select sid from orders where ch='{ch}' and dt like '{m}%')""",
        zh="""
        {m}没有{ch}订单的门店
        哪些门店{m}没有{ch}订单
        列出{m}没有{ch}渠道订单的门店
        {m}哪些门店没接到{ch}订单
        {m}一个{ch}订单都没有的门店
        找出{m}没有{ch}订单的营业门店
        {m}没接过{ch}渠道订单的门店
        """,
        en="""
        Which stores had no {ch} orders in {m}?
        Stores without {ch} orders in {m}
        List stores with no {ch} order in {m}
        Which stores did not get a {ch} order in {m}?
        {m}: stores without any {ch} orders
        Find stores that had no {ch} order in {m}
        Show stores with zero {ch} orders in {m}
        """,
    ),
    pattern(
        "orders_of_region_and_status",
        """select count(*) from orders join stores using(sid)
        where st='{st}' and rg='{rg}' and dt like '{p}%'""",
        zh="""
        {p}{rg}{st}的订单有多少
        {rg}{p}有多少{st}订单
        统计{p}{rg}大区{st}的订单数
        {p}{rg}{st}订单几个
        {rg}大区{p}{st}的单有几笔
        查{rg}{p}{st}订单数量
        看看{p}{rg}有几个{st}订单
        """,
        en="""
        How many {st} orders does {rg} have in {p}?
        Number of {st} orders in {rg} in {p}
        Count the {st} orders of {rg} in {p}
        How many {rg} orders of {p} are {st}?
        {rg}: number of {st} orders in {p}
        Show the count of {st} {rg} orders for {p}
        How many {st} orders are there in {rg} in {p}?
        """,
    ),
)
