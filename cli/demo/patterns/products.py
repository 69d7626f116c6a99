"""Questions about products alone: prices are in cents, `off` is 1 when one is no longer sold."""

from cli.demo.patterns.pattern import pattern

PATTERNS = (
    pattern(
        "price_of_product",
        "select price/100.0 from products where pname='{prod}'",
        zh="""
        商品{prod}多少钱
        {prod}的价格是多少
        查商品{prod}的价格
        商品{prod}卖什么价
        {prod}单价多少元
        看下{prod}这个商品的价格
        商品{prod}现在的价格
        """,
        en="""
        What does product {prod} cost?
        Price of {prod}
        What is the price of {prod}?
        How much is product {prod}?
        Look up the price of product {prod}
        {prod}: what price?
        Show the price for {prod}
        """,
    ),
    pattern(
        "active_products_above_price",
        "select count(*) from products where off=0 and cat='{cat}' and price>{v}*100",
        zh="""
        在售的{cat}类商品有多少个超过{v}元
        超过{v}元的在售{cat}类商品数
        {cat}类价格超过{v}元的在售商品有几个
        有几个在售{cat}类商品贵过{v}元
        统计{cat}类高于{v}元的在售商品
        {cat}类在售商品中高于{v}元的有多少
        价格高于{v}元的在售{cat}类商品数量
        """,
        en="""
        How many active {cat} products cost more than {v} yuan?
        Number of active {cat} products above {v} yuan
        Count active {cat} products priced over {v} yuan
        How many {cat} products on sale are over {v} yuan?
        Active {cat} products above {v} yuan: how many?
        How many active {cat} items are over {v} yuan?
        Count of active {cat} products over {v} yuan
        """,
        v=(40, 60, 80, 120, 150, 200, 250, 300),
    ),
    pattern(
        "priciest_products",
        """select pname, price/100.0 from products where off=0 and cat='{cat}'
        order by price desc limit {n}""",
        zh="""
        {cat}类最贵的{n}个商品
        {cat}类价格最高的{n}个商品
        列出最贵的{n}个{cat}类商品
        {cat}类里最贵的{n}个是哪些
        {cat}类单价前{n}的商品
        看看{cat}类价格前{n}的商品
        价格最高的{n}个{cat}类商品是什么
        """,
        en="""
        The {n} most expensive {cat} products
        Top {n} {cat} products by price
        Which {n} {cat} products are the most expensive?
        List the {n} priciest {cat} products
        {n} highest priced {cat} products
        Show the {n} most expensive {cat} items
        What are the {n} priciest {cat} items?
        """,
        n=(3, 4, 5, 6, 7, 8, 10),
    ),
    pattern(
        "products_above_average_of_category",
        """select pname from products where off=0 and cat='{cat}'
        and price>(select avg(price) from products where cat='{cat2}')""",
        zh="""
        哪些{cat}类商品比{cat2}类均价贵
        价格高于{cat2}类均价的{cat}类商品
        {cat}类里贵过{cat2}类平均价的商品
        列出比{cat2}类平均价贵的{cat}类商品
        {cat}类有哪些商品超过{cat2}类均价
        找出高于{cat2}类平均价格的{cat}类商品
        {cat}类哪些商品价格高于{cat2}类平均价
        """,
        en="""
        Which {cat} products cost more than the average {cat2} product?
        {cat} products above the average {cat2} price
        List {cat} products priced over the {cat2} average
        Which {cat} items are pricier than the {cat2} average?
        {cat} products more expensive than an average {cat2} product
        Find {cat} products above the {cat2} average price
        Show {cat} products that cost over the average {cat2} price
        """,
    ),
    pattern(
        "unsold_products",
        """select pname from products where off=0 and cat='{cat}'
        and pid not in (select pid from sales_records where sd like '{m}%')""",
        zh="""
        {m}没卖出去的{cat}类商品
        {cat}类{m}没有销售的商品
        哪些{cat}类商品{m}一件没卖
        {m}哪些{cat}类商品零销售
        列出{m}没卖出的{cat}类商品
        {cat}类在{m}零销售的商品有哪些
        找出{m}没有卖过的{cat}类商品
        """,
        en="""
        Which {cat} products did not sell in {m}?
        {cat} products with no sales in {m}
        List {cat} products not sold in {m}
        Which {cat} items had no sales in {m}?
        Unsold {cat} products in {m}
        {m}: {cat} products without a sale
        Show the {cat} products that never sold in {m}
        """,
    ),
)
