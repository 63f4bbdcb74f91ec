//! The products: a clean workbook, loaded by its key and in one transaction.

use jiff::civil::date;

use super::{Drop, Entry, PRODUCTS};

const HEADERS: [&str; 9] = [
    "Product ID",
    "Name",
    "List Price",
    "Standard Cost",
    "Quantity On Hand",
    "Decimals Supported",
    "Valid From",
    "Is Kit",
    "Description",
];

/// Product id, name, price, cost, quantity, decimals, month of 2026 from which it is valid, kit or not, description.
type Row = (&'static str, &'static str, f64, f64, f64, f64, i8, &'static str, &'static str);

#[rustfmt::skip]
const ROWS: [Row; 24] = [
    ("000417", "Bench vice 120 mm", 89.9, 41.25, 34.0, 0.0, 1, "No", "Cast steel, with anvil"),
    ("000418", "Bench vice 150 mm", 119.0, 55.8, 12.0, 0.0, 1, "No", "Cast steel, with anvil"),
    ("000420", "Torque wrench 20-100 Nm", 64.5, 27.4, 80.0, 0.0, 1, "No", "Calibrated, certificate enclosed"),
    ("000421", "Torque wrench 60-300 Nm", 94.5, 38.9, 41.0, 0.0, 1, "No", "Calibrated, certificate enclosed"),
    ("000500", "Socket set, 94 pieces", 149.0, 62.1, 25.0, 0.0, 1, "Yes", "Steel case"),
    ("000501", "Hex keys, metric, 9 pieces", 18.9, 5.6, 310.0, 0.0, 1, "Yes", "On a ring"),
    ("000502", "Hex keys, inch, 9 pieces", 18.9, 5.6, 120.0, 0.0, 1, "Yes", "On a ring"),
    ("000610", "Cutting oil, 5 l", 27.5, 11.05, 96.5, 1.0, 2, "No", "Mineral oil"),
    ("000611", "Cutting oil, 20 l", 94.0, 38.2, 18.0, 1.0, 2, "No", "Mineral oil"),
    ("000612", "Way oil ISO 68, 5 l", 31.0, 12.9, 22.5, 1.0, 2, "No", "For slideways"),
    ("000700", "Machine lamp LED", 139.0, 71.0, 9.0, 0.0, 3, "No", "24 V, arm of 60 cm"),
    ("000701", "Machine lamp LED, magnetic", 159.0, 83.5, 7.0, 0.0, 3, "No", "24 V, magnetic foot"),
    ("000815", "Feeler gauge 0.05-1.00 mm", 12.4, 3.85, 143.0, 0.0, 3, "No", "20 blades"),
    ("000816", "Vernier caliper 150 mm", 39.9, 16.1, 66.0, 0.0, 3, "No", "Reads to 0.02 mm"),
    ("000817", "Vernier caliper 300 mm", 79.9, 35.6, 15.0, 0.0, 3, "No", "Reads to 0.02 mm"),
    ("000818", "Dial gauge 10 mm", 44.0, 19.75, 28.0, 0.0, 3, "No", "Reads to 0.01 mm"),
    ("000900", "Lathe tool holder 16 mm", 52.0, 24.3, 37.0, 0.0, 4, "No", "For triangular inserts"),
    ("000901", "Lathe tool holder 20 mm", 58.0, 27.05, 31.0, 0.0, 4, "No", "For triangular inserts"),
    ("000902", "Inserts, steel, 10 pieces", 47.5, 21.9, 204.0, 0.0, 4, "No", "Coated"),
    ("000903", "Inserts, aluminium, 10 pieces", 47.5, 22.4, 88.0, 0.0, 4, "No", "Polished"),
    ("001000", "Starter kit turning", 329.0, 158.0, 5.0, 0.0, 5, "Yes", "Holder, inserts, caliper, oil"),
    ("001001", "Starter kit measuring", 139.0, 66.2, 11.0, 0.0, 5, "Yes", "Caliper, dial gauge, feeler gauge"),
    ("001100", "Floor mat, per metre", 23.75, 9.4, 187.25, 2.0, 6, "No", "Cut to length"),
    ("001101", "Chip brush", 4.9, 1.15, 520.0, 0.0, 6, "No", "Horsehair"),
];

pub(super) fn drop() -> Drop {
    let rows = ROWS.iter().map(|row| {
        let (id, name, price, cost, quantity, decimals, month, kit, about) = *row;
        vec![
            Entry::Text(id),
            Entry::Text(name),
            Entry::Number(price),
            Entry::Number(cost),
            Entry::Number(quantity),
            Entry::Number(decimals),
            Entry::Day(date(2026, month, 1)),
            Entry::Text(kit),
            Entry::Text(about),
        ]
    });
    Drop { workbook: PRODUCTS, sheet: "Products", headers: &HEADERS, rows: rows.collect() }
}
