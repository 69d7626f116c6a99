"""Names of the sales database: people, stores and products, in Chinese and English."""

import random

SURNAMES_ZH = "王李张刘陈杨赵黄周吴徐孙马朱胡林郭何高罗"
GIVEN_ZH = "伟芳娜敏静丽强磊军洋勇艳杰涛明超霞平刚华建文玉红"
FIRST_EN = """
    Emma, Liam, Olivia, Noah, Ava, Lucas, Mia, Ethan, Ruby, Jack, Grace, Oscar, Ella, Henry, Alice,
    Leo, Clara, Adam, Lucy, Max, Nora, Paul, Rose, Simon, Tara, Victor, Wendy, Carl, Diana, Frank
"""
LAST_EN = """
    Baker, Clark, Davis, Evans, Foster, Grant, Hall, Irving, Jones, Keller, Lewis, Mason, Nolan,
    Owen, Parker, Quinn, Reed, Stone, Turner, Walsh, Young, Bell, Cole, Drake, Ford, Green, Hunt,
    Lane, Moore, Price
"""

STORES = """
    南京路店, 人民广场店, 中山路店, 解放路店, 滨江店, 高新店, 东门店, 西湖店, 火车站店, 大学城店,
    天河店, 江北店, 会展店, 老城店, 机场店, 金融街店, 体育场店, 科技园店,
    Harbour Mall, Lakeside Plaza, Garden Square, River Point, Sunset Mall, Union Plaza,
    Grand Arcade, North Gate, Pearl Tower, Amber Court, Star Avenue, Maple Corner, Ocean Walk,
    Crown Plaza, Spring Lane, Golden Bridge, Hill View, West End
"""

PRODUCTS: dict[str, str] = {
    "G1": """
        积木城堡, 遥控赛车, 毛绒小熊, 拼图世界, 磁力片, 木马摇椅, 魔方三阶, 恐龙模型, 泡泡机,
        Sky Kite, Robot Dog, Train Set, Puzzle Cube, Clay Kit,
        Magic Cards, Space Ship, Doll House, Yo Yo
    """,
    "G2": """
        不粘炒锅, 陶瓷汤碗, 竹砧板, 保温饭盒, 手冲壶, 蒸笼套装, 不锈钢勺, 玻璃茶壶, 磨刀石,
        Chef Knife, Stone Pan, Tea Kettle, Salad Bowl, Bread Oven,
        Spice Rack, Coffee Mill, Wok Pro, Rice Pot
    """,
    "G4": """
        羽绒外套, 牛仔长裤, 纯棉衬衫, 针织毛衣, 连帽卫衣, 百褶短裙, 防风夹克, 羊毛围巾, 亚麻上衣,
        Trail Jacket, Denim Shirt, Wool Coat, Linen Dress, Rain Boots,
        Silk Scarf, Polo Tee, Cargo Pants, Sun Hat
    """,
    "G5": """
        坚果礼盒, 龙井绿茶, 手工月饼, 草莓果酱, 牛肉干, 黑芝麻糊, 蜂蜜柚子茶, 桂花糕, 辣椒酱,
        Honey Oats, Dark Cocoa, Olive Oil, Corn Chips, Green Tea,
        Berry Jam, Sea Salt, Maple Syrup, Almond Mix
    """,
    "G6": """
        保湿面霜, 玫瑰精油, 美白面膜, 丝绒口红, 洁面泡沫, 防晒喷雾, 护手霜, 眉笔, 卸妆水,
        Silk Lotion, Rose Mist, Clay Mask, Velvet Lip, Pearl Cream,
        Mint Balm, Glow Serum, Soft Powder, Aloe Gel
    """,
    "G7": """
        数据之美, 山海旧事, 时间简谈, 城市地图, 诗词新选, 厨房日记, 星空漫游, 古镇纪行, 小王国,
        Deep Sea, Cloud Atlas, Lost River, Data Story, Old Town,
        Moon Walk, Quiet Mind, Wild Roads, First Light
    """,
    "G8": """
        瑜伽垫, 登山杖, 羽毛球拍, 跳绳, 护膝, 泳镜, 哑铃套装, 骑行头盔, 露营帐篷,
        Tennis Pro, Foam Roller, Swim Cap, Camp Tent, Bike Pump,
        Yoga Block, Trail Pack, Jump Rope, Golf Ball
    """,
}


def people(rng: random.Random, *, chinese: int, english: int) -> list[str]:
    """Distinct full names, `chinese` of them in Chinese and `english` in English, mixed."""
    zh = [s + g for s in SURNAMES_ZH for g in GIVEN_ZH]
    zh += [s + g + h for s in SURNAMES_ZH for g in GIVEN_ZH[:8] for h in GIVEN_ZH[12:] if g != h]
    en = [f"{first} {last}" for first in listed(FIRST_EN) for last in listed(LAST_EN)]
    names = rng.sample(zh, chinese) + rng.sample(en, english)
    rng.shuffle(names)
    return names


def listed(text: str) -> list[str]:
    """The names of a block of text, split at commas."""
    return [name.strip() for name in text.split(",")]
