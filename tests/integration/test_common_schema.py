"""Migrations run once each, whoever runs them at the same time, and never change behind our back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from common.runtime.errors import InvalidError, TransientError
from common.schema.runner import Migration, migrate, shipped

pytestmark = pytest.mark.services


def test_a_database_is_brought_to_this_release_and_then_left_alone(empty_url: str) -> None:
    assert migrate(empty_url) == [step.name for step in shipped()]
    assert migrate(empty_url) == []


def test_two_processes_that_migrate_at_once_apply_each_step_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        ran = list(pool.map(lambda _: migrate(empty_url), range(4)))
    assert sorted(name for names in ran for name in names) == sorted(step.name for step in shipped())


def test_a_step_that_fails_leaves_nothing_behind(empty_url: str) -> None:
    broken = Migration(1, "0001_broken.sql", "CREATE TABLE half (id int); SELECT no_such_function();")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        migrate(empty_url, [broken])
    with psycopg.connect(empty_url) as connection:
        row = connection.execute("SELECT to_regclass('half'), count(*) FROM schema_migration").fetchone()
    assert row == (None, 0)


def test_a_migration_that_was_edited_after_it_ran_is_refused(empty_url: str) -> None:
    first = Migration(1, "0001_first.sql", "CREATE TABLE first (id int);")
    migrate(empty_url, [first])
    with pytest.raises(InvalidError, match=r"0001_first\.sql ran with checksum"):
        migrate(empty_url, [replace(first, sql=first.sql + " ")])


def test_a_database_of_a_newer_release_is_left_alone(empty_url: str) -> None:
    first = Migration(1, "0001_first.sql", "CREATE TABLE first (id int);")
    migrate(empty_url, [first, Migration(2, "0002_next.sql", "CREATE TABLE next (id int);")])
    with pytest.raises(InvalidError, match="does not know"):
        migrate(empty_url, [first])


def test_a_database_that_does_not_answer_is_said() -> None:
    with pytest.raises(TransientError, match="does not answer"):
        migrate("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_the_store_has_one_incarnation(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM store").fetchone() == (1,)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO store DEFAULT VALUES")
