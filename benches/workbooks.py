#!/usr/bin/env python3
"""Makes the workbooks that the benches and the bounds read: the same bytes for the same arguments, on any machine.

    workbooks.py FILE.xlsx --rows N [--inline]      one workbook; FILE.csv makes the same rows as text
    workbooks.py FOLDER --files 200 --rows 500      many workbooks for one table

A row has twelve cells under headers that the sandbox's accounts have, so that `ddu ingest` takes them without a sidecar:
a number with leading zeros, four more texts that no other row has, a long text in two rows of five, a category, a whole
number, an amount, a day, a truth value and a moment. That is 5.4 distinct texts and 11.4 filled cells a row; 1,048,575
rows are a sheet of some 500 MB and shared strings of some 430 MB. The XML is written straight into the container,
because a library would take ten times as long; nothing but Python itself is needed.
"""

import argparse
import pathlib
import zipfile

HEADERS = [
    "Account Number", "Account Name", "Email", "Main Phone", "Address 1: Street 1", "Description", "Industry",
    "Number of Employees", "Annual Revenue", "Customer Since", "Credit Hold", "Last On Hold Time",
]  # fmt: skip
INDUSTRIES = [
    "Accounting", "Brokers", "Business Services", "Consulting", "Consumer Services", "Financial", "Insurance",
    "Legal Services", "Service Retail", "Social Services", "Transportation", "Wholesale",
]  # fmt: skip
FIRST = ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Juniper", "Larch", "Maple", "Oak"]
SECOND = ["Bridge", "Harbour", "Mill", "Quarry", "Station", "Tower", "Wharf", "Yard"]
THIRD = ["Foundry", "Instruments", "Logistics", "Provisions", "Textiles", "Timber", "Tools", "Trading"]
FORMS = ["Company", "Group", "Limited", "Partners & Sons", "Partnership", "Works"]
NOTES = [
    "Delivers on the second and the fourth Tuesday of the month, and by appointment only in December.",
    "Invoices go to the head office, credit notes to the branch that placed the order; ask before shipping.",
    "The contract of 2019 was prolonged twice; its prices hold until the end of the running quarter.",
    "Ring twice. The gate is closed between noon and one o'clock, and the yard takes no trucks above 12 t.",
    "Prefers pallets of 80 by 120; anything else is returned at the cost of whoever sent it.",
]
ROWS_MAX = 1_048_575
"""Rows below the header of the largest sheet that Excel has."""
BLOCK_ROWS = 2_000
"""Rows that are written at once."""


class Row:
    """The values of one row: texts as they stand in XML (`&amp;`), numbers as they are spelled."""

    __slots__ = ("texts", "note", "industry", "employees", "revenue", "since", "held", "moment")

    def __init__(self, number, seed):
        # Knuth's multiplicative hashing: spread, cheap, and the same everywhere.
        dice = ((number + seed * 7_919) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        a, b, c, d = FIRST[dice % 12], SECOND[dice // 12 % 8], THIRD[dice // 96 % 8], FORMS[dice // 768 % 6]
        low = dice >> 33
        self.texts = (
            f"{number:08d}",
            f"{a} {b} {c} {d.replace('&', '&amp;')} {number}/{low % 99_991}",
            f"{dice:016x}.{number}@{b}-{c}.example".lower(),
            f"+49 {low % 900 + 100} {number:07d}-{low % 89}",
            f"{low % 400 + 1} {b} Road, Building {number}, Gate {dice >> 44}, {a} Industrial Park",
        )
        self.note = f"{number}-{dice:x}. {NOTES[low % 5]} {NOTES[(low + 1) % 5]} {NOTES[(low + 2) % 5]}" if low % 5 < 2 else None
        self.industry = low % len(INDUSTRIES)
        self.employees = low % 25_000
        self.revenue = f"{low % 9_000_000 / 100 + 1_000:.2f}"
        self.since = 36_526 + low % 9_800
        self.held = number & 1
        self.moment = f"{43_000 + low % 3_000}.{low % 1_000:03d}"


def shared_row(row, place, first, refs):
    """A row whose texts are shared; its own begin at index `first`."""
    a, b, c, d, e, f, g, h, i, j, k, m = refs
    note = f'<c r="{f}{place}" t="s"><v>{first + 5}</v></c>' if row.note else ""
    return (
        f'<row r="{place}" spans="1:12"><c r="{a}{place}" t="s"><v>{first}</v></c>'
        f'<c r="{b}{place}" t="s"><v>{first + 1}</v></c><c r="{c}{place}" t="s"><v>{first + 2}</v></c>'
        f'<c r="{d}{place}" t="s"><v>{first + 3}</v></c><c r="{e}{place}" t="s"><v>{first + 4}</v></c>{note}'
        f'<c r="{g}{place}" t="s"><v>{len(HEADERS) + row.industry}</v></c>'
    ) + plain_cells(row, place, (h, i, j, k, m))


def inline_row(row, place, refs):
    """A row that holds its texts itself."""
    texts = [*row.texts, row.note, INDUSTRIES[row.industry]]
    cells = [
        f'<c r="{ref}{place}" t="inlineStr"><is><t>{text}</t></is></c>' for ref, text in zip(refs, texts) if text
    ]
    return f'<row r="{place}" spans="1:12">{"".join(cells)}' + plain_cells(row, place, refs[7:])


def plain_cells(row, place, refs):
    h, i, j, k, m = refs
    return (
        f'<c r="{h}{place}"><v>{row.employees}</v></c><c r="{i}{place}"><v>{row.revenue}</v></c>'
        f'<c r="{j}{place}" s="1"><v>{row.since}</v></c><c r="{k}{place}" t="b"><v>{row.held}</v></c>'
        f'<c r="{m}{place}" s="2"><v>{row.moment}</v></c></row>'
    )


def sheet_xml(rows, inline):
    """The sheet, block by block."""
    refs = "ABCDEFGHIJKL"
    yield (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f'<dimension ref="A1:L{len(rows) + 1}"/><sheetData><row r="1" spans="1:12">'
    )
    for index, header in enumerate(HEADERS):
        if inline:
            yield f'<c r="{refs[index]}1" t="inlineStr"><is><t>{header}</t></is></c>'
        else:
            yield f'<c r="{refs[index]}1" t="s"><v>{index}</v></c>'
    yield "</row>"
    next_text = len(HEADERS) + len(INDUSTRIES)
    block = []
    for place, row in enumerate(rows, start=2):
        if inline:
            block.append(inline_row(row, place, refs))
        else:
            block.append(shared_row(row, place, next_text, refs))
            next_text += 6 if row.note else 5
        if len(block) == BLOCK_ROWS:
            yield "".join(block)
            block.clear()
    yield "".join(block)
    yield "</sheetData></worksheet>"


def strings_xml(rows):
    """The shared strings in the order in which the sheet counts them."""
    yield (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    )
    yield "".join(f"<si><t>{text}</t></si>" for text in HEADERS + INDUSTRIES)
    block = []
    for row in rows:
        block.extend(row.texts)
        if row.note:
            block.append(row.note)
        if len(block) >= 5 * BLOCK_ROWS:
            yield f"<si><t>{'</t></si><si><t>'.join(block)}</t></si>"
            block.clear()
    if block:
        yield f"<si><t>{'</t></si><si><t>'.join(block)}</t></si>"
    yield "</sst>"


OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{TYPES}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{TYPES}.worksheet+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{TYPES}.styles+xml"/>'
    f'<Override PartName="/xl/sharedStrings.xml" ContentType="{TYPES}.sharedStrings+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">'
    '<sheets><sheet name="Accounts" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{OFFICE}/styles" Target="styles.xml"/>'
    f'<Relationship Id="rId3" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
    "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><fonts count="1"><font/></fonts>'
    '<fills count="1"><fill><patternFill patternType="none"/></fill></fills><borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0"/></cellStyleXfs><cellXfs count="3">'
    '<xf numFmtId="0" xfId="0"/><xf numFmtId="14" xfId="0" applyNumberFormat="1"/>'
    '<xf numFmtId="22" xfId="0" applyNumberFormat="1"/></cellXfs></styleSheet>',
}


class Rows:
    """The rows of one workbook, made anew at every pass: no list of a million of them is kept."""

    def __init__(self, count, seed, first=1):
        self.count, self.seed, self.first = count, seed, first

    def __len__(self):
        return self.count

    def __iter__(self):
        return (Row(number, self.seed) for number in range(self.first, self.first + self.count))


def write_xlsx(path, rows, inline=False, level=6):
    """Writes the workbook."""
    with zipfile.ZipFile(path, "w") as container:
        def part(name, pieces):
            # The date is the container's oldest, so that the same rows are the same bytes.
            about = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            about.compress_type = zipfile.ZIP_DEFLATED
            # Public since Python 3.13, where the old name still works.
            about._compresslevel = level
            with container.open(about, "w") as out:
                for piece in pieces:
                    out.write(piece.encode())

        for name, text in PARTS.items():
            part(name, [text])
        part("xl/worksheets/sheet1.xml", sheet_xml(rows, inline))
        part("xl/sharedStrings.xml", strings_xml([] if inline else rows))


def write_csv(path, rows):
    """The same rows as text: every cell quoted, days and moments in ISO 8601."""
    import datetime

    day_zero = datetime.datetime(1899, 12, 30)
    days = [(day_zero + datetime.timedelta(days=day)).strftime("%Y-%m-%d") for day in range(60_000)]
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write(",".join(f'"{header}"' for header in HEADERS) + "\r\n")
        block = []
        for row in rows:
            day, part = row.moment.split(".")
            seconds = int(part) * 86_400 // 1_000
            moment = f"{days[int(day)]}T{seconds // 3_600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
            texts = [*row.texts, row.note or "", INDUSTRIES[row.industry]]
            texts = '","'.join(text.replace("&amp;", "&") for text in texts)
            held = "TRUE" if row.held else "FALSE"
            block.append(f'"{texts}",{row.employees},{row.revenue},{days[row.since]},{held},{moment}\r\n')
            if len(block) == BLOCK_ROWS:
                out.write("".join(block))
                block.clear()
        out.write("".join(block))


def write_many(folder, files, rows_each, seed=1):
    """Writes `files` workbooks of `rows_each` rows each; no two have a row in common."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(files):
        rows = Rows(rows_each, seed, first=index * rows_each + 1)
        write_xlsx(folder / f"accounts-{index + 1:03d}.xlsx", rows)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("path", type=pathlib.Path, help="a file .xlsx or .csv, or a folder for many")
    arguments.add_argument("--rows", type=int, default=10_000, help="rows below the header, of each file")
    arguments.add_argument("--files", type=int, help="how many files to put into the folder")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--inline", action="store_true", help="texts in their cells instead of shared ones")
    arguments.add_argument("--level", type=int, default=6, help="how hard to deflate, 1 to 9")
    given = arguments.parse_args()
    if not 1 <= given.rows <= ROWS_MAX:
        arguments.error(f"--rows is 1 to {ROWS_MAX}")
    if given.files:
        write_many(given.path, given.files, given.rows, given.seed)
    elif given.path.suffix == ".csv":
        write_csv(given.path, Rows(given.rows, given.seed))
    else:
        write_xlsx(given.path, Rows(given.rows, given.seed), given.inline, given.level)


if __name__ == "__main__":
    main()
