//! The accounts: forty invented companies, with invented phone numbers and addresses under `.example`.

use jiff::civil::date;

use super::{ACCOUNTS, Drop, Entry};

const HEADERS: [&str; 12] = [
    "Account Name",
    "Account Number",
    "Main Phone",
    "Email",
    "City",
    "Country",
    "Annual Revenue",
    "No. of Employees",
    "Industry",
    "Credit Hold",
    "Customer Since",
    "Description",
];

/// Name, number, phone, email, city, country, revenue, employees, industry, hold, customer since, description.
#[rustfmt::skip]
type Row = (
    &'static str, &'static str, &'static str, &'static str, &'static str, &'static str,
    f64, f64, &'static str, &'static str, (i16, i8, i8), &'static str,
);

#[rustfmt::skip]
const ROWS: [Row; 40] = [
    ("Brindlemoor Foods Ltd", "001001", "+44 20 7946 0101", "office@brindlemoor.example", "Leeds", "United Kingdom", 18_400_000.0, 212.0, "Food and Tobacco Processing", "No", (2014, 3, 3), "Frozen vegetables and ready meals"),
    ("Havenlight Optics Inc.", "001002", "+1 212 555 0142", "hello@havenlight.example", "Albany", "United States", 42_750_000.0, 385.0, "Durable Manufacturing", "No", (2011, 9, 19), "Lenses for medical instruments"),
    ("Tortoise & Thyme Catering", "001003", "+44 20 7946 0117", "kitchen@tortoise-thyme.example", "Bristol", "United Kingdom", 1_260_500.5, 24.0, "Eating and Drinking Places", "No", (2019, 5, 6), "Orders by phone only, before noon"),
    ("Søndervig Bådeværft ApS", "001004", "+45 70 10 55 04", "post@sondervig.example", "Esbjerg", "Denmark", 6_890_000.0, 58.0, "Durable Manufacturing", "No", (2016, 11, 14), "Wooden boats, built to order"),
    ("Quellbach Werkzeuge GmbH & Co. KG", "001005", "+49 30 23125 105", "einkauf@quellbach.example", "Berlin", "Germany", 31_200_000.0, 240.0, "Durable Manufacturing", "No", (2009, 1, 12), "+ pays within ten days"),
    ("Café Étoilé SARL", "001006", "+33 1 99 00 12 06", "bonjour@cafe-etoile.example", "Lyon", "France", 890_000.0, 17.0, "Eating and Drinking Places", "No", (2021, 2, 1), "Two shops, one roastery"),
    ("Northgale Freight Ltd", "001007", "+44 20 7946 0125", "desk@northgale.example", "Hull", "United Kingdom", 57_300_000.0, 610.0, "Transportation", "No", (2008, 6, 23), "Night deliveries at gate 4"),
    ("Juniper Hollow Clinic", "001008", "+1 303 555 0188", "frontdesk@juniperhollow.example", "Boulder", "United States", 9_100_000.0, 96.0, "Doctor's Offices and Clinics", "No", (2017, 8, 28), "Invoices to the trust, not to the clinic"),
    ("Mühlental Papier AG", "001009", "+49 30 23125 109", "info@muehlental.example", "Freiburg", "Germany", 76_000_000.0, 540.0, "Broadcasting Printing and Publishing", "No", (2005, 4, 4), "Recycled paper only"),
    ("Orangewood Insurance Brokers", "001010", "+1 415 555 0110", "contact@orangewood.example", "Oakland", "United States", 23_400_000.0, 130.0, "Insurance", "Yes", (2013, 10, 7), "On hold until the 2025 invoices are settled"),
    ("Starling & Vane Couriers", "001011", "+44 20 7946 0133", "ops@starlingvane.example", "Cardiff", "United Kingdom", 4_480_000.0, 71.0, "Transportation", "No", (2020, 7, 20), "Drones in two postcodes, vans elsewhere"),
    ("Olmo y Encina Muebles S.L.", "001012", "+34 900 555 012", "ventas@olmoyencina.example", "Valencia", "Spain", 12_050_000.0, 143.0, "Non-Durable Merchandise Retail", "No", (2015, 12, 1), "Showroom closed in August"),
    ("Pendle & Larch Solicitors", "001013", "+44 20 7946 0140", "clerks@pendlelarch.example", "Preston", "United Kingdom", 3_750_000.0, 39.0, "Legal Services", "No", (2018, 1, 15), "Paper invoices, two copies"),
    ("Łąkowa Młyn Sp. z o.o.", "001014", "+48 22 555 01 14", "biuro@lakowa.example", "Lublin", "Poland", 8_320_000.0, 88.0, "Food and Tobacco Processing", "No", (2012, 5, 21), "Rye and spelt flour"),
    ("Copperkettle Brewing Co.", "001015", "+1 503 555 0115", "taproom@copperkettle.example", "Portland", "United States", 5_640_000.0, 47.0, "Food and Tobacco Processing", "No", (2016, 3, 17), "Returns its kegs late"),
    ("Bergamot Design Studio", "001016", "+39 06 5550 0116", "studio@bergamot.example", "Bologna", "Italy", 980_000.0, 12.0, "Design, Direction and Creative Management", "No", (2022, 9, 5), "Freelancers, write to all three"),
    ("Fjordlys Energi AS", "001017", "+47 21 55 01 17", "kontor@fjordlys.example", "Bergen", "Norway", 118_000_000.0, 720.0, "Utility Creation and Distribution", "No", (2004, 2, 9), "Framework contract until 2028"),
    ("Northgale Storage Ltd", "001018", "+44 20 7946 0126", "storage@northgale.example", "Hull", "United Kingdom", 9_950_000.0, 83.0, "Transportation", "No", (2010, 6, 28), "Sister of Northgale Freight"),
    ("Wattle & Gum Nurseries Pty", "001019", "+61 2 5550 0119", "orders@wattlegum.example", "Wagga Wagga", "Australia", 2_310_000.0, 33.0, "Agriculture and Non-petrol Natural Resource Extraction", "No", (2019, 11, 11), "Plants travel on Mondays"),
    ("Zephyrine Marine Supply", "001020", "+1 207 555 0120", "parts@zephyrine.example", "Rockland", "United States", 14_700_000.0, 104.0, "Wholesale", "No", (2014, 7, 7), "Parts for sailing boats"),
    ("Atelier Ravenne SA", "001021", "+33 1 99 00 12 21", "atelier@ravenne.example", "Nantes", "France", 7_775_000.0, 66.0, "Durable Manufacturing", "No", (2013, 4, 22), "Stained glass, restoration"),
    ("Kestrel Ridge Outfitters", "001022", "+1 406 555 0122", "shop@kestrelridge.example", "Missoula", "United States", 3_120_000.0, 29.0, "Non-Durable Merchandise Retail", "No", (2018, 10, 1), "Season from May to October"),
    ("Hopfen & Söhne Logistik GmbH", "001023", "+49 30 23125 123", "dispo@hopfen-soehne.example", "Nürnberg", "Germany", 48_600_000.0, 455.0, "Transportation", "No", (2007, 8, 13), "Gefahrgut only with notice"),
    ("Marigold Home Care", "001024", "+44 20 7946 0151", "care@marigoldhome.example", "York", "United Kingdom", 2_890_000.0, 92.0, "Social Services", "No", (2020, 1, 27), "Public customer, purchase order required"),
    ("Basalt Consulting Group", "001025", "+1 617 555 0125", "engage@basalt.example", "Boston", "United States", 88_000_000.0, 410.0, "Consulting", "No", (2010, 12, 6), "Master agreement 2024-117"),
    ("Lindenhof Apotheken eG", "001026", "+49 30 23125 126", "zentrale@lindenhof.example", "Kassel", "Germany", 27_450_000.0, 168.0, "Wholesale", "No", (2024, 4, 15), "= key account of the north region"),
    ("Perrywinkle Toys Ltd", "001027", "+44 20 7946 0160", "hello@perrywinkle.example", "Norwich", "United Kingdom", 1_940_000.0, 21.0, "Non-Durable Merchandise Retail", "No", (2021, 11, 29), "Half of the year's orders come in November"),
    ("Isarblick Realitäten GmbH", "001028", "+49 30 23125 128", "office@isarblick.example", "München", "Germany", 16_200_000.0, 37.0, "Specialty Realty", "Yes", (2012, 2, 20), "Credit limit under review"),
    ("Tamarack Machine Tool", "001029", "+1 218 555 0129", "sales@tamarack.example", "Duluth", "United States", 64_900_000.0, 390.0, "Durable Manufacturing", "No", (2006, 9, 25), "Spare parts by air"),
    ("Velho Moinho Azeites Lda", "001030", "+351 21 555 0130", "azeite@velhomoinho.example", "Évora", "Portugal", 1_105_000.0, 14.0, "Food and Tobacco Processing", "No", (2023, 3, 13), "Olive oil, harvest in October"),
    ("Grauwacke Bau AG", "001031", "+41 44 555 01 31", "bau@grauwacke.example", "Winterthur", "Switzerland", 93_500_000.0, 615.0, "Special Outbound Trade Contractors", "No", (2003, 5, 5), "Site managers order by text message"),
    ("Redfern Vehicle Leasing", "001032", "+44 20 7946 0172", "fleet@redfern.example", "Derby", "United Kingdom", 38_800_000.0, 260.0, "Equipment Rental and Leasing", "No", (2011, 3, 28), "Two hundred vans, twelve depots"),
    ("Polder & Dijk Installaties BV", "001033", "+31 20 555 0133", "werk@polderdijk.example", "Lelystad", "Netherlands", 11_300_000.0, 99.0, "Building Supply Retail", "No", (2015, 6, 8), "Heat pumps and pipes"),
    ("Sable Point Observatory Trust", "001034", "+1 231 555 0134", "trust@sablepoint.example", "Ludington", "United States", 720_000.0, 9.0, "SIG Affiliations", "No", (2022, 6, 20), "Exempt from sales tax, certificate on file"),
    ("Anemone Cosmetics SpA", "001035", "+39 06 5550 0135", "ordini@anemone.example", "Parma", "Italy", 29_900_000.0, 187.0, "Non-Durable Merchandise Retail", "No", (2014, 10, 20), "Samples with every order"),
    ("Rookery Lane Records", "001036", "+44 20 7946 0181", "studio@rookerylane.example", "Manchester", "United Kingdom", 640_000.0, 8.0, "Entertainment Retail", "No", (2023, 9, 11), "Vinyl only"),
    ("Almgrund Molkerei eGen", "001037", "+43 1 5550 137", "molkerei@almgrund.example", "Salzburg", "Austria", 52_400_000.0, 230.0, "Food and Tobacco Processing", "No", (2009, 11, 2), "Deliveries must stay below six degrees"),
    ("Cinderford Glass Works", "001038", "+44 20 7946 0190", "works@cinderfordglass.example", "Gloucester", "United Kingdom", 21_750_000.0, 174.0, "Inbound Capital Intensive Processing", "No", (2010, 4, 19), "Furnace stop every second July"),
    ("Blue Mesa Broadcasting", "001039", "+1 505 555 0139", "news@bluemesa.example", "Santa Fe", "United States", 13_600_000.0, 118.0, "Broadcasting Printing and Publishing", "No", (2017, 1, 9), "Invoices to accounts payable, Denver"),
    ("Havsbris Fastigheter AB", "001040", "+46 8 555 01 40", "kontor@havsbris.example", "Göteborg", "Sweden", 44_100_000.0, 52.0, "Brokers", "No", (2016, 8, 15), "Leases in Swedish, letters in English"),
];

pub(super) fn drop() -> Drop {
    let rows = ROWS.iter().map(|row| {
        let (name, number, phone, email, city, country, revenue, employees, industry, hold, since, about) =
            *row;
        let (year, month, day) = since;
        vec![
            Entry::Text(name),
            Entry::Text(number),
            Entry::Text(phone),
            Entry::Text(email),
            Entry::Text(city),
            Entry::Text(country),
            Entry::Number(revenue),
            Entry::Number(employees),
            Entry::Text(industry),
            Entry::Text(hold),
            Entry::Day(date(year, month, day)),
            Entry::Text(about),
        ]
    });
    Drop { workbook: ACCOUNTS, sheet: "Accounts", headers: &HEADERS, rows: rows.collect() }
}
