"""Every query pattern of the demo, by topic."""

from cli.demo.patterns import (
    buyers,
    customers,
    orders,
    orders_more,
    products,
    returns,
    sales,
    staff,
    stores,
    unseen,
)
from cli.demo.patterns.pattern import Pattern

TOPICS = (customers, products, orders, orders_more, buyers, stores, staff, sales, returns, unseen)
PATTERNS: tuple[Pattern, ...] = tuple(made for topic in TOPICS for made in topic.PATTERNS)

__all__ = ["PATTERNS", "Pattern"]
