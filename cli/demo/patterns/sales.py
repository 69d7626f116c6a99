"""Questions about what was sold: only sales records of kind D1 count, D4 are gifts, D6 are void."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "sales_of_category",
        """select sum(rev)/100.0 from sales_records join products using(pid)
        where kd='D1' and cat='{cat}' and sd like '{p}%'""",
        zh="""
        {p}{cat}类的销售额
        {cat}类{p}销售额多少
        {p}{cat}类商品销售额是多少
        查{cat}类在{p}的销售额
        {cat}类{p}一共卖了多少钱
        统计{p}{cat}类销售额
        {p}{cat}类商品卖了多少钱
        """,
        en="""
        Sales of {cat} products in {p}
        What were {cat} sales in {p}?
        How much did we sell in {cat} products in {p}?
        {cat} category sales for {p}
        Total sales of the {cat} category in {p}
        Show me {cat} product sales in {p}
        {p}: sales of the {cat} category
        """,
    ),
    pattern(
        "sales_of_category_fiscal",
        """select sum(rev)/100.0 from sales_records join products using(pid)
        where kd='D1' and cat='{cat}' and sd {fy}""",
        zh="""
        {fy}{cat}类的销售额
        {cat}类{fy}销售额多少
        {fy}{cat}类商品销售额是多少
        查{cat}类在{fy}的销售额
        {cat}类{fy}一共卖了多少钱
        统计{fy}{cat}类销售额
        {fy}{cat}类商品卖了多少钱
        """,
        en="""
        Sales of {cat} products in {fy}
        What were {cat} sales in {fy}?
        How much did we sell in {cat} products in {fy}?
        {cat} category sales for {fy}
        Total sales of the {cat} category in {fy}
        Show me {cat} product sales in {fy}
        {fy}: sales of the {cat} category
        """,
    ),
    pattern(
        "sales_by_category",
        """select cat, sum(rev)/100.0 from sales_records join products using(pid)
        where kd='D1' and sd like '{p}%' group by cat""",
        zh="""
        {p}各品类销售额
        {p}每个品类卖了多少钱
        按品类看{p}销售额
        {p}销售额按品类汇总
        各品类在{p}的销售额分别多少
        {p}不同品类的销售额
        统计{p}各品类的销售额
        """,
        en="""
        Sales by category in {p}
        What were the sales of each category in {p}?
        Sales per category for {p}
        Break down {p} sales by category
        Show {p} sales for each category
        How much did each category sell in {p}?
        {p} sales split by category
        """,
    ),
    pattern(
        "top_products",
        """select pname, sum(rev)/100.0 from sales_records join products using(pid)
        where kd='D1' and sd like '{p}%' group by pid order by 2 desc limit {n}""",
        zh="""
        {p}销售额前{n}的商品
        {p}销售额最高的{n}个商品
        列出{p}销售额最高的{n}个商品
        {p}商品销售额排名前{n}
        哪{n}个商品{p}销售额最高
        {p}销售额最高的前{n}种商品
        {p}前{n}名商品及销售额
        """,
        en="""
        Top {n} products by sales in {p}
        Which were the top {n} products in {p}?
        The {n} products with the highest sales in {p}
        List our {n} best selling products of {p} by sales
        Which {n} products made the most sales in {p}?
        {p}: top {n} products
        Show the {n} best products by sales in {p}
        """,
        n=(3, 4, 5, 6, 8, 10, 12, 15),
    ),
    pattern(
        "top_products_of_category_by_units",
        """select pname, sum(qty) from sales_records join products using(pid)
        where kd='D1' and cat='{cat}' and sd like '{y}%'
        group by pid order by 2 desc limit {n}""",
        zh="""
        {y}{cat}类销量前{n}的商品
        {cat}类{y}销量最高的{n}个商品
        列出{y}{cat}类销量最高的{n}个商品
        {y}{cat}类商品销量排名前{n}
        {cat}类哪{n}个商品{y}销量最高
        {y}卖得件数最多的{n}个{cat}类商品
        {cat}类{y}销量前{n}名
        """,
        en="""
        Top {n} {cat} products by units sold in {y}
        Which {n} {cat} products sold the most units in {y}?
        The {n} {cat} products with the most units in {y}
        List the {n} {cat} products with the highest unit sales in {y}
        {y}: top {n} {cat} products by units
        Show the {n} {cat} items that sold most units in {y}
        Best {n} {cat} products of {y} by units
        """,
        n=(3, 4, 5, 6, 8, 10),
    ),
    pattern(
        "units_of_product",
        """select sum(qty) from sales_records join products using(pid)
        where kd='D1' and pname='{prod}' and sd like '{y}%'""",
        zh="""
        {prod}{y}的销量
        商品{prod}{y}卖了多少件
        {y}{prod}销量是多少
        查商品{prod}在{y}的销量
        {prod}{y}一共卖出几件
        统计商品{prod}{y}销量
        {y}卖了多少件{prod}
        """,
        en="""
        Units sold of {prod} in {y}
        How many units of {prod} did we sell in {y}?
        How many {prod} were sold in {y}?
        {prod}: units sold in {y}
        Unit sales of product {prod} for {y}
        Number of units of {prod} sold in {y}
        Show the units sold of product {prod} in {y}
        """,
    ),
    pattern(
        "gross_profit_of_category",
        """select sum(rev-qty*cost)/100.0 from sales_records join products using(pid)
        where kd='D1' and cat='{cat}' and sd like '{p}%'""",
        zh="""
        {p}{cat}类的毛利
        {cat}类{p}毛利多少
        {p}{cat}类商品毛利是多少
        查{cat}类在{p}的毛利
        {cat}类{p}一共多少毛利
        统计{p}{cat}类毛利
        {p}{cat}类商品赚了多少毛利
        """,
        en="""
        Gross profit of {cat} products in {p}
        What was the {cat} gross profit in {p}?
        How much gross profit did {cat} products make in {p}?
        {cat} gross profit for {p}
        Total gross profit from {cat} products in {p}
        Show me gross profit of {cat} products in {p}
        {p}: gross profit of the {cat} category
        """,
    ),
    pattern(
        "margin_by_category",
        """select cat, sum(rev-qty*cost)*1.0/sum(rev) from sales_records join products using(pid)
        where kd='D1' and sd like '{p}%' group by cat""",
        zh="""
        {p}各品类毛利率
        {p}每个品类的毛利率
        按品类看{p}毛利率
        {p}毛利率按品类汇总
        各品类在{p}的毛利率分别多少
        {p}不同品类的毛利率
        统计{p}各品类的毛利率
        """,
        en="""
        Gross margin by category in {p}
        What was the margin of each category in {p}?
        Margin per category for {p}
        Break down {p} gross margin by category
        Show {p} margin for each category
        How high was the margin of each category in {p}?
        {p} gross margin split by category
        """,
    ),
    pattern(
        "gifts_of_category",
        """select sum(qty) from sales_records join products using(pid)
        where kd='D4' and cat='{cat}' and sd like '{p}%'""",
        zh="""
        {p}{cat}类送出多少件赠品
        {cat}类{p}赠品件数
        {p}{cat}类商品送了几件赠品
        查{cat}类在{p}的赠品数量
        {cat}类{p}一共送了多少赠品
        统计{p}{cat}类赠品件数
        {p}送出的{cat}类赠品有多少
        """,
        en="""
        How many {cat} gifts did we give away in {p}?
        Number of {cat} gifts in {p}
        {cat} products given away as gifts in {p}
        How many {cat} products were gifts in {p}?
        Units of {cat} products given as gifts in {p}
        Count of {cat} gift units in {p}
        {p}: {cat} gift units
        """,
    ),
    pattern(
        "products_above_units",
        """select pname from sales_records join products using(pid)
        where kd='D1' and cat='{cat}' and sd like '{y}%' group by pid having sum(qty)>{k}""",
        zh="""
        {y}销量超过{k}件的{cat}类商品
        哪些{cat}类商品{y}销量超过{k}件
        {y}销量多于{k}件的{cat}类商品有哪些
        列出{y}卖出超过{k}件的{cat}类商品
        {cat}类中{y}销量超过{k}件的商品
        {y}哪些{cat}类商品卖了超过{k}件
        找出{y}销量大于{k}件的{cat}类商品
        """,
        en="""
        Which {cat} products sold more than {k} units in {y}?
        {cat} products with more than {k} units sold in {y}
        List {cat} products that sold over {k} units in {y}
        {y}: {cat} products over {k} units
        Which {cat} items passed {k} units in {y}?
        Show {cat} products with over {k} units in {y}
        Find the {cat} products that sold over {k} units in {y}
        """,
        k=(8, 9, 11, 12, 14, 16),
    ),
    pattern(
        "sales_of_category_in_channel",
        """select sum(rev)/100.0 from sales_records join orders using(oid)
        join products using(pid) where kd='D1' and ch='{ch}' and cat='{cat}'""",
        zh="""
        {ch}渠道{cat}类的销售额
        {cat}类在{ch}渠道的销售额
        {cat}类商品{ch}卖了多少钱
        {ch}渠道卖了多少钱的{cat}类商品
        查{ch}渠道{cat}类商品销售额
        统计{cat}类{ch}渠道销售额
        {cat}类通过{ch}渠道的总销售额
        """,
        en="""
        Sales of {cat} products via {ch}
        What were {cat} sales in the {ch} channel?
        How much did we sell in {cat} products via {ch}?
        {ch} sales of the {cat} category
        Total {ch} sales of {cat} products
        Show {cat} sales through the {ch} channel
        {cat} product sales in {ch}
        """,
    ),
    pattern(
        "buyers_of_product",
        """select count(distinct cid) from orders where oid in
        (select oid from sales_records join products using(pid) where pname='{prod}')""",
        zh="""
        买过{prod}的买家有多少
        有几个买家买过{prod}
        统计买过商品{prod}的买家数
        多少买家买了{prod}
        商品{prod}的买家数
        {prod}有多少个买家
        查买过{prod}的买家人数
        """,
        en="""
        How many buyers bought {prod}?
        Number of buyers of {prod}
        How many buyers have ordered {prod}?
        Count the buyers of product {prod}
        {prod}: how many buyers?
        Distinct buyers of product {prod}
        How many buyers does {prod} have?
        """,
    ),
)
