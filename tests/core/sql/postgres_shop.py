"""The shop of conftest as a PostgreSQL database: half English, half Chinese, of two schemas."""

SHOP = """
CREATE TYPE level AS ENUM ('gold', 'silver', 'none');
CREATE TABLE regions (id int PRIMARY KEY, name text NOT NULL);
COMMENT ON TABLE regions IS 'where we  sell';
COMMENT ON COLUMN regions.name IS '地区';
CREATE TABLE customers (
    id int PRIMARY KEY, name varchar(40), level level, region_id int REFERENCES regions (id),
    joined date, photo bytea, tags text[]
);
CREATE TABLE "订单" (
    "编号" bigint PRIMARY KEY, "客户" int REFERENCES customers, "状态" text, "金额" numeric(10, 2),
    paid_at timestamptz, gift boolean
);
CREATE TABLE lines (
    order_id bigint, place int, "unit price" double precision, took interval,
    PRIMARY KEY (order_id, place), FOREIGN KEY (order_id) REFERENCES "订单" ("编号")
);
CREATE VIEW gold AS SELECT * FROM customers WHERE level = 'gold';
CREATE MATERIALIZED VIEW counts AS SELECT region_id, count(*) AS n FROM customers GROUP BY 1;
CREATE TABLE secrets (id int PRIMARY KEY, word text);
CREATE SCHEMA hr;
CREATE TABLE hr.staff (
    id int PRIMARY KEY, region_id int REFERENCES regions, boss int REFERENCES hr.staff
);
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_2024 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO regions VALUES (1, 'North'), (2, 'South'), (3, '华东');
INSERT INTO customers VALUES
    (1, 'Ann', 'gold', 1, '2024-01-05', '\\x00ff', '{a,b}'),
    (2, 'Bo', 'silver', 1, '2024-02-01', NULL, NULL),
    (3, '李雷', 'gold', 3, '2024-02-01', NULL, NULL),
    (4, '韩梅梅', 'none', 3, '2024-03-09', NULL, NULL),
    (5, 'O''Neil', 'silver', 2, NULL, NULL, NULL);
INSERT INTO "订单" VALUES
    (1, 1, '已付款', 10.5, '2024-01-05 10:00+00', true), (2, 1, '待付款', 20, NULL, false),
    (3, 3, '已付款', 30.25, NULL, false), (4, 4, '已付款', 0.1, NULL, NULL),
    (5, 4, '已取消', 0.2, NULL, true);
INSERT INTO lines VALUES (1, 1, 10.5, '1 day'), (2, 1, 5.0, NULL), (2, 2, 15.0, '2 hours');
INSERT INTO hr.staff VALUES (1, 1, NULL), (2, 1, 1);
REFRESH MATERIALIZED VIEW counts;
"""

MORE_GRANTS = """
GRANT USAGE ON SCHEMA hr TO {role};
GRANT SELECT ON hr.staff TO {role};
REVOKE SELECT ON secrets FROM {role};
"""


def build(server):
    """A database of that server with the shop in it, whose reader sees both schemas."""
    target = server.new_database(SHOP)
    target.execute(MORE_GRANTS.format(role=f"reader_{target.name}"))
    return target
