"""The demo: a sales database, its question/SQL pairs, and a driver that speaks REST alone."""
