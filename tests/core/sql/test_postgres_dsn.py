import pytest

from core.errors import InvalidInput
from core.sql.postgres.dsn import read_dsn

SECRET = "s3cret/4711"


def test_a_dsn_is_read_and_shown_without_its_password():
    address = read_dsn("postgresql://reader:s3cret%2F4711@db.internal:6432/shop?sslmode=require")
    assert (address.host, address.port, address.database) == ("db.internal", 6432, "shop")
    assert (address.user, address.password, address.sslmode) == ("reader", SECRET, "require")
    assert address.shown == "postgresql://reader:***@db.internal:6432/shop?sslmode=require"
    assert address.place == "db.internal:6432/shop"
    assert SECRET not in repr(address)


def test_port_and_mode_have_defaults_and_addresses_may_be_of_any_kind():
    address = read_dsn("postgres://r:p@[::1]/%E9%94%80%E5%94%AE")
    assert (address.host, address.port, address.database) == ("::1", 5432, "销售")
    assert address.sslmode == "prefer"
    assert address.shown == "postgresql://r:***@[::1]:5432/%E9%94%80%E5%94%AE"


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "shop",
        "mysql://r:s3cret@h/d",
        "postgresql+psycopg://r:s3cret@h/d",
        "host=h user=r password=s3cret dbname=d",
        "postgresql://h/d",
        "postgresql://r@h/d",  # it must not depend on where we are
        "postgresql://:s3cret@h/d",
        "postgresql://r:s3cret@h",
        "postgresql://r:s3cret@h/",
        "postgresql://r:s3cret@h/d/e",
        "postgresql://r:s3cret@/d",
        "postgresql://r:s3cret@/d?host=/var/run/postgresql",
        "postgresql://r:s3cret@%2Fvar%2Frun/d",  # a socket of this machine
        "postgresql://r:s3cret@h1,h2/d",
        "postgresql://r:s3cret@h:s3cret/d",
        "postgresql://r:s3cret@h:99999/d",
        "postgresql://r:s3cret@[h/d",
        "postgresql://r:s3cret#4711@h/d",
        "postgresql://r:s3cret?4711@h/d",
        "postgresql://r:s3cret@h/d?passfile=/etc/passwd",
        "postgresql://r:s3cret@h/d?sslkey=/etc/ssl/key.pem",
        "postgresql://r:s3cret@h/d?service=other",
        "postgresql://r:s3cret@h/d?options=-cstatement_timeout%3D0",
        "postgresql://r:s3cret@h/d?sslmode=verify-nothing",
        "postgresql://r:s3cret@h/d?sslmode",
        "postgresql://r:s3cret%00@h/d",
        "postgresql://r:s3cret\n@h/d",
        "postgresql://r:s3cret @h/d",
        "postgresql://r:s3cret@h/" + "d" * 3000,
    ],
)
def test_what_is_no_plain_address_is_refused_and_nothing_of_it_repeated(dsn):
    with pytest.raises(InvalidInput, match="postgresql://user:password@host") as refused:
        read_dsn(dsn)
    assert refused.value.param == "dsn"
    assert "s3cret" not in refused.value.message and "4711" not in refused.value.message
