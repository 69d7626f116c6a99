"""The tables of the sales database. Deliberately without comments: its rules are to be learned."""

TABLES = """
create table regions (
  rg text primary key,
  rname text not null,
  head text not null
);
create table stores (
  sid integer primary key,
  sname text not null,
  rg text not null references regions(rg),
  size integer not null,
  opened text not null,
  shut integer not null
);
create table reps (
  eid integer primary key,
  ename text not null,
  sid integer not null references stores(sid),
  grd text not null,
  hired text not null,
  gone integer not null
);
create table customers (
  cid integer primary key,
  cname text not null,
  lvl text not null,
  rg text not null references regions(rg),
  joined text not null,
  del integer not null
);
create table products (
  pid integer primary key,
  pname text not null,
  cat text not null,
  price integer not null,
  cost integer not null,
  off integer not null
);
create table orders (
  oid integer primary key,
  cid integer not null references customers(cid),
  sid integer not null references stores(sid),
  eid integer not null references reps(eid),
  dt text not null,
  ch text not null,
  st text not null,
  amt integer not null,
  disc integer not null
);
create table sales_records (
  sno integer primary key,
  oid integer not null references orders(oid),
  pid integer not null references products(pid),
  sd text not null,
  kd text not null,
  qty integer not null,
  rev integer not null
);
create table returns (
  rno integer primary key,
  oid integer not null references orders(oid),
  pid integer not null references products(pid),
  rdt text not null,
  rsn text not null,
  back integer not null
);
"""

# The foreign keys that queries walk; without them the anti-joins scan.
INDEXES = """
create index orders_cid on orders(cid);
create index orders_sid on orders(sid);
create index orders_eid on orders(eid);
create index sales_records_oid on sales_records(oid);
create index sales_records_pid on sales_records(pid);
create index returns_oid on returns(oid);
create index returns_pid on returns(pid);
"""
