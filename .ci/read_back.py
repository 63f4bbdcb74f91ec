#!/usr/bin/env python3
"""Reads what `ddu demo` leaves behind with readers that share no code with DDU, and holds it against the promises.

    read_back.py PATH/TO/ddu [--keep DIR]

Runs the demo in an empty folder, then reads every Delta table with the `deltalake` package and every returned workbook
with `openpyxl`. Each check prints one line; the exit code is 1 when one of them fails, 2 when there was nothing to check.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections import Counter

import openpyxl
from deltalake import DeltaTable

# The migration guide's columns, in its order, with its types; existing reports are built on them.
LOG_COLUMNS = [
    ("table_name", {"string"}), ("partition_id", {"integer"}), ("batch_id", {"integer"}),
    ("batch_size", {"integer"}), ("write_time", {"float"}), ("time", {"timestamp"}), ("error", {"string"}),
    ("severity", {"integer"}), ("cause", {"string"}), ("quarantine_table", {"string"}),
]  # fmt: skip
# The guide gives these no types; whole numbers may be of either width.
STATE_COLUMNS = [
    ("id", {"integer", "long"}), ("table_name", {"string"}), ("records", {"integer", "long"}),
    ("validated", {"boolean"}), ("workers", {"integer", "long"}),
]  # fmt: skip
LOG_OURS = ["job", "target_entity", "legal_entity", "rows_written", "rows_quarantined", "attempt"]
STATE_OURS = ["target_entity", "written", "quarantined", "pending", "status", "updated"]
RECEIPT_COLUMNS = ["table_name", "row_id", "target_key", "job", "batch_id", "time"]
STAGED_OURS = ["_ddu_row_id", "_ddu_job", "_ddu_sheet", "_ddu_row", "_ddu_rescued"]
QUARANTINE_OURS = ["_ddu_error", "_ddu_cause", "_ddu_column", "_ddu_attempt", "_ddu_time"]
OWN_TABLES = {"migration_state", "migration_log", "migration_receipts"}
OWN_HEADERS = ["Row", "What is wrong", "What to do"]
KEPT_TEXT = "[DDU keeps the whole text"

failures = []


def check(holds, what, found=None):
    """Prints the check; a failed one is remembered with what was found instead."""
    print(f"  {'ok  ' if holds else 'FAIL'} {what}" + ("" if holds or found is None else f": {found}"))
    if not holds:
        failures.append(what)
    return holds


def run_demo(ddu, folder):
    """The journey, as its user starts it. 0: every row was written; 3: rows are in quarantine."""
    print(f"ddu demo --dir {folder}")
    done = subprocess.run([ddu, "demo", "--dir", folder], stdin=subprocess.DEVNULL, timeout=600)
    check(done.returncode in (0, 3), "the demo ends with 0 or 3", done.returncode)


def column_types(table):
    """Name and Delta type of each column, in the table's order."""
    return [(field["name"], field["type"]) for field in json.loads(table.schema().to_json())["fields"]]


def rows_of(table):
    return table.to_pyarrow_table().to_pylist()


def open_tables(lakehouse):
    """Every Delta table under the lakehouse, by (database, table)."""
    logs = sorted(lakehouse.glob("*/*/_delta_log"))
    return {(log.parts[-3], log.parts[-2]): DeltaTable(log.parent) for log in logs}


def check_every_reader(name, table):
    """Protocol 1/2 and types that every Delta reader knows."""
    protocol = table.protocol()
    versions = (protocol.min_reader_version, protocol.min_writer_version)
    check(versions == (1, 2), f"{name}: protocol reader 1, writer 2", versions)
    check("timestamp_ntz" not in table.schema().to_json(), f"{name}: no timestamp_ntz")
    blanks = [column for column, _ in column_types(table) if re.search(r"[ ,;{}()\n\t=]", column)]
    check(not blanks, f"{name}: column names that Spark accepts", blanks)


def check_begins_with(name, table, expected, ours):
    columns = column_types(table)
    first = columns[: len(expected)]
    wrong = [
        f"{found[0]} {found[1]}, expected {column} {' or '.join(sorted(types))}"
        for found, (column, types) in zip(first, expected)
        if found[0] != column or found[1] not in types
    ]
    check(len(first) == len(expected) and not wrong, f"{name}: the guide's columns first, with its types", wrong)
    rest = [column for column, _ in columns[len(expected) :]]
    check(rest[: len(ours)] == ours, f"{name}: then {', '.join(ours)}", rest)


def check_rows_accounted(state, database, quarantine, tables, log, receipts):
    """records = written + quarantined + pending, and each number is what the other tables hold."""
    names = Counter(row["table_name"] for row in state)
    check(all(count == 1 for count in names.values()), "migration_state: one row a table", dict(names))
    staged_names = {table for base, table in tables if base == database} - OWN_TABLES
    check(staged_names == set(names), "migration_state: every staged table is in it", staged_names ^ set(names))
    for row in state:
        name = row["table_name"]
        four = {key: row[key] for key in ("records", "written", "quarantined", "pending")}
        print(f"{name} → {row['target_entity']}: {four}, {row['status']}")
        sum_of_three = row["written"] + row["quarantined"] + row["pending"]
        check(row["records"] == sum_of_three, f"{name}: records = written + quarantined + pending")
        staged = tables.get((database, name))
        if not check(staged is not None, f"{name}: the staged table is there"):
            continue
        columns = [column for column, _ in column_types(staged)]
        check(columns[:5] == STAGED_OURS, f"{name}: begins with {', '.join(STAGED_OURS)}", columns[:5])
        staged_rows = rows_of(staged)
        check(len(staged_rows) == row["records"], f"{name}: records = rows staged", len(staged_rows))
        staged_ids = Counter(r["_ddu_row_id"] for r in staged_rows)
        check(len(staged_ids) == len(staged_rows), f"{name}: every staged row has an id of its own")
        refused = tables.get((quarantine, name))
        refused_rows = rows_of(refused) if refused else []
        check(len(refused_rows) == row["quarantined"], f"{name}: quarantined = rows in quarantine", len(refused_rows))
        if refused:
            columns = [column for column, _ in column_types(refused)]
            missing = [column for column in QUARANTINE_OURS if column not in columns]
            check(not missing, f"{name}: quarantine has {', '.join(QUARANTINE_OURS)}", missing)
            reasons = all(r["_ddu_error"] and r["_ddu_cause"] for r in refused_rows)
            check(reasons, f"{name}: every refused row has its error and its cause")
        refused_ids = {r["_ddu_row_id"] for r in refused_rows}
        check(refused_ids <= set(staged_ids), f"{name}: what is in quarantine was staged")
        written_ids = Counter(r["row_id"] for r in receipts if r["table_name"] == name)
        check(len(written_ids) == row["written"], f"{name}: written = rows with a receipt", len(written_ids))
        check(all(n == 1 for n in written_ids.values()), f"{name}: no row has two receipts")
        check(not (set(written_ids) & refused_ids), f"{name}: no row is both written and in quarantine")
        logged = sum(r["rows_written"] for r in log if r["table_name"] == name)
        check(logged == row["written"], f"{name}: written = rows that the log says were written", logged)
        check(row["pending"] == 0, f"{name}: nothing is pending when the demo is over")


def mark_of(book):
    """The hidden sheet's JSON: chunks of text down column A."""
    return json.loads("".join(str(row[0]) for row in book["_ddu"].iter_rows(values_only=True) if row[0]))


def plain(name):
    """A header or a column without what their spellings may differ in."""
    return re.sub(r"[\W_]+", "", name).casefold()


def check_returned(path, tables, quarantine):
    """A returned workbook holds its job's quarantined rows, in words, with every text as it was."""
    book = openpyxl.load_workbook(path)
    if not check("_ddu" in book.sheetnames, f"{path.name}: has the sheet _ddu", book.sheetnames):
        return 0, 0
    hidden = book["_ddu"].sheet_state
    check(hidden in ("hidden", "veryHidden"), f"{path.name}: _ddu is hidden", hidden)
    mark = mark_of(book)
    check(mark["job"] in path.name, f"{path.name}: bears its job's id", mark["job"])
    rows = texts = 0
    for part in mark["parts"]:
        where = f"{path.name}[{part['sheet']}]"
        sheet = book[part["sheet"]]
        headers = [cell.value for cell in sheet[part["header_row"]]]
        check(headers[:3] == OWN_HEADERS, f"{where}: begins with {', '.join(OWN_HEADERS)}", headers[:3])
        check(sheet.freeze_panes is not None, f"{where}: the header is frozen")
        check(bool(sheet.auto_filter.ref) or bool(sheet.tables), f"{where}: the header is filtered")
        id_index = headers.index(part["id_header"])
        letter = openpyxl.utils.get_column_letter(id_index + 1)
        check(sheet.column_dimensions[letter].hidden, f"{where}: the row ids are hidden")

        table = tables[(quarantine, part["settings"]["table_name"])]
        types = dict(column_types(table))
        refused = {r["_ddu_row_id"]: r for r in rows_of(table) if r["_ddu_job"] == mark["job"]}
        columns = {}
        for index, header in enumerate(headers):
            if header not in part["own_headers"]:
                columns[index] = next((c for c in types if plain(c) == plain(str(header))), None)
        unknown = [headers[index] for index, column in columns.items() if column is None]
        check(not unknown, f"{where}: every column of the sender is in quarantine", unknown)

        cells = list(sheet.iter_rows(min_row=part["header_row"] + 1))
        ids = [row[id_index].value for row in cells]
        check(Counter(ids) == Counter(refused.keys()), f"{where}: its rows are the job's {len(refused)} quarantined rows", len(ids))
        rows += len(ids)
        silent = [row[0].row for row in cells if not (row[1].value and row[2].value)]
        check(not silent, f"{where}: every row says what is wrong and what to do", silent)
        places = all(row[0].value == refused[row[id_index].value]["_ddu_row"] for row in cells if row[id_index].value in refused)
        check(places, f"{where}: Row is the row of the workbook that was dropped")
        formulas = [cell.coordinate for row in cells for cell in row if cell.data_type == "f"]
        check(not formulas, f"{where}: no cell is a formula", formulas)
        changed = []
        for row in cells:
            stored = refused.get(row[id_index].value, {})
            for index, column in columns.items():
                value = stored.get(column)
                if types.get(column) != "string" or value is None or str(row[index].value).startswith(KEPT_TEXT):
                    continue
                texts += 1
                if row[index].data_type != "s" or row[index].value != value:
                    changed.append(f"{row[index].coordinate}: {row[index].value!r} for {value!r}")
        check(not changed, f"{where}: text is text, character by character", changed[:5])
    return rows, texts


def check_lakehouse(folder):
    lakehouse = folder / "lakehouse"
    tables = open_tables(lakehouse)
    print(f"{len(tables)} Delta tables under {lakehouse}")
    databases = [base for base, table in tables if table == "migration_state"]
    if not check(len(databases) == 1, "there is one migration_state", databases):
        return
    database = databases[0]
    others = sorted({base for base, _ in tables} - {database})
    if not check(len(others) == 1, "beside its database there is the quarantine's", others):
        return
    quarantine = others[0]
    for (base, table_name), table in tables.items():
        check_every_reader(f"{base}.{table_name}", table)
    present = check(OWN_TABLES <= {t for b, t in tables if b == database}, "state, log and receipts are there")
    if not present:
        return
    own = {name: tables[(database, name)] for name in OWN_TABLES}
    check_begins_with("migration_log", own["migration_log"], LOG_COLUMNS, LOG_OURS)
    check_begins_with("migration_state", own["migration_state"], STATE_COLUMNS, STATE_OURS)
    names = [column for column, _ in column_types(own["migration_receipts"])]
    check(names[: len(RECEIPT_COLUMNS)] == RECEIPT_COLUMNS, "migration_receipts: its columns", names)

    state, log = rows_of(own["migration_state"]), rows_of(own["migration_log"])
    receipts = rows_of(own["migration_receipts"])
    check_rows_accounted(state, database, quarantine, tables, log, receipts)

    returned = sorted((folder / "dropbox" / "returned").glob("*.xlsx"))
    untouched = [path for path in returned if path.with_name(path.name + ".txt").exists()]
    rows = texts = 0
    for path in returned:
        if path not in untouched:
            print(path.name)
            more_rows, more_texts = check_returned(path, tables, quarantine)
            rows, texts = rows + more_rows, texts + more_texts
    in_quarantine = sum(row["quarantined"] for row in state)
    check(rows == in_quarantine, f"the returned workbooks hold the {in_quarantine} rows in quarantine", rows)
    if not (state and log and rows and texts):
        print(f"nothing to check: {len(state)} tables, {len(log)} log rows, {rows} returned rows, {texts} texts")
        sys.exit(2)
    print(
        f"read {sum(row['records'] for row in state)} staged rows in {len(state)} tables, {len(log)} log rows, "
        f"{len(receipts)} receipts, {rows} rows and {texts} texts in {len(returned) - len(untouched)} returned workbooks"
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("ddu", help="the built program")
    arguments.add_argument("--keep", metavar="DIR", help="run the demo there and leave it; else in a temporary folder")
    given = arguments.parse_args()
    ddu = str(pathlib.Path(given.ddu).resolve())
    with tempfile.TemporaryDirectory(prefix="ddu-read-back-") as temporary:
        folder = pathlib.Path(given.keep or temporary)
        run_demo(ddu, folder)
        check_lakehouse(folder)
    if failures:
        sys.exit(f"{len(failures)} checks failed:\n  " + "\n  ".join(failures))
    print("every check holds")


if __name__ == "__main__":
    main()
