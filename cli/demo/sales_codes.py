"""The codes of the sales database and what people call them, in English and Chinese.

The database stores the codes alone: no table explains them, so they can only be learned from pairs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One coded value: `code` in the database, `en`/`zh` in a question, `weight` its frequency."""

    code: str
    en: str
    zh: str
    weight: int


CODES: dict[str, tuple[Code, ...]] = {
    # Customer tier.
    "lvl": (
        Code("K8", "VIP", "VIP", 12),
        Code("K5", "gold", "金卡", 20),
        Code("K3", "silver", "银卡", 30),
        Code("K1", "regular", "普通", 38),
    ),
    # Region.
    "rg": (
        Code("R1", "East China", "华东", 26),
        Code("R2", "South China", "华南", 22),
        Code("R3", "North China", "华北", 18),
        Code("R5", "Central China", "华中", 14),
        Code("R7", "Southwest China", "西南", 11),
        Code("R9", "Northeast China", "东北", 9),
    ),
    # Sales channel.
    "ch": (
        Code("C1", "offline", "线下", 38),
        Code("C2", "online", "线上", 30),
        Code("C5", "mini-program", "小程序", 20),
        Code("C7", "wholesale", "批发", 12),
    ),
    # Order status; P7 alone counts as revenue.
    "st": (
        Code("P1", "unpaid", "待付款", 7),
        Code("P4", "shipped", "已发货", 9),
        Code("P7", "completed", "已完成", 72),
        Code("P9", "cancelled", "已取消", 12),
    ),
    # Product category.
    "cat": (
        Code("G1", "toy", "玩具", 14),
        Code("G2", "kitchen", "厨具", 14),
        Code("G4", "clothing", "服装", 18),
        Code("G5", "food", "食品", 20),
        Code("G6", "beauty", "美妆", 14),
        Code("G7", "book", "图书", 10),
        Code("G8", "sports", "运动", 10),
    ),
    # Reason of a return.
    "rsn": (
        Code("T1", "poor quality", "质量问题", 34),
        Code("T3", "wrong size", "尺寸不符", 28),
        Code("T4", "late delivery", "物流太慢", 20),
        Code("T8", "change of mind", "改变主意", 18),
    ),
    # Grade of a sales rep.
    "grd": (
        Code("E1", "junior", "初级", 50),
        Code("E3", "senior", "高级", 35),
        Code("E6", "lead", "首席", 15),
    ),
}

YEARS = (2020, 2021, 2022, 2023, 2024, 2025)
# A fiscal year starts in April of the year that names it, so the last calendar year has none whole.
FISCAL_YEARS = YEARS[:-1]
MONTHS_EN = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
