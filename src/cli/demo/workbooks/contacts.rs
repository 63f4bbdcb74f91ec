//! The contacts: people who do not exist, each at one of the accounts, named by its account number.

use jiff::civil::date;

use super::{CONTACTS, Drop, Entry};

const HEADERS: [&str; 8] =
    ["First Name", "Last Name", "Email", "Job Title", "Mobile Phone", "Birthday", "Company", "Description"];

/// First name, last name, email, job title, mobile phone, birthday, account number, description.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Option<(i16, i8, i8)>,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const ROWS: [Row; 28] = [
    ("Amara", "Holloway", "amara.holloway@brindlemoor.example", "Head of Purchasing", "+44 7700 900101", Some((1984, 2, 29)), "001001", ""),
    ("Theodore", "Lindqvist", "t.lindqvist@havenlight.example", "Plant Manager", "+1 212 555 0151", Some((1971, 6, 3)), "001002", "Speaks Swedish"),
    ("Priya", "Ashdown", "priya@tortoise-thyme.example", "Owner", "+44 7700 900103", None, "001003", "Call after two"),
    ("Mikkel", "Søgaard", "mikkel@sondervig.example", "Yard Master", "+45 70 10 55 14", Some((1966, 10, 12)), "001004", ""),
    ("Renate", "Quellbach-Ost", "r.ost@brindlemoor.example", "Quality Lead", "+44 7700 900104", Some((1978, 12, 1)), "001001", ""),
    ("Élodie", "Marchand", "elodie@cafe-etoile.example", "Roaster", "+33 6 39 98 12 06", Some((1993, 4, 18)), "001006", ""),
    ("Oswin", "Thackeray", "oswin.thackeray@tamarack.example", "Dispatcher", "+1 218 555 0139", Some((1988, 7, 30)), "001029", "Night shift"),
    ("Marisol", "Vega", "m.vega@juniperhollow.example", "Practice Manager", "+1 303 555 0198", Some((1980, 1, 5)), "001008", ""),
    ("Konrad", "Birkholz", "k.birkholz@muehlental.example", "Vertriebsleiter", "+49 30 23125 209", Some((1969, 9, 9)), "001009", ""),
    ("Denise", "Okafor", "denise@orangewood.example", "Claims Director", "+1 415 555 0119", Some((1975, 3, 27)), "001010", "Knows about the credit hold"),
    ("Lucía", "Ferrándiz", "lucia@olmoyencina.example", "Export Manager", "+34 900 555 112", Some((1990, 11, 15)), "001012", ""),
    ("Harriet", "Pendle", "h.pendle@pendlelarch.example", "Partner", "+44 7700 900113", Some((1962, 5, 22)), "001013", ""),
    ("Gregory", "Larch", "g.larch@pendlelarch.example", "Partner", "+44 7700 900114", Some((1959, 8, 8)), "001013", ""),
    ("Zofia", "Wrońska", "zofia@lakowa.example", "Mill Manager", "+48 22 555 02 14", Some((1986, 2, 2)), "001014", ""),
    ("Beau", "Castellano", "beau@copperkettle.example", "Head Brewer", "+1 503 555 0116", Some((1991, 12, 24)), "001015", ""),
    ("Ilaria", "Conti-Berg", "ilaria@bergamot.example", "Art Director", "+39 06 5550 0216", None, "001016", ""),
    ("Sigrid", "Halvorsen", "sigrid@fjordlys.example", "Grid Engineer", "+47 21 55 02 17", Some((1983, 6, 21)), "001017", ""),
    ("Bruce", "Tallow", "bruce@wattlegum.example", "Grower", "+61 2 5550 0219", Some((1974, 1, 26)), "001019", ""),
    ("Noor", "Zephyr", "noor@zephyrine.example", "Buyer", "+1 207 555 0121", Some((1995, 5, 9)), "001020", ""),
    ("Baptiste", "Ravenne", "baptiste@ravenne.example", "Glazier", "+33 6 39 98 12 21", Some((1957, 3, 3)), "001021", ""),
    ("June", "Kestrel", "june@kestrelridge.example", "Shop Manager", "+1 406 555 0123", Some((1992, 7, 14)), "001022", "Prefers letters"),
    ("Matthias", "Hopfen", "m.hopfen@hopfen-soehne.example", "Geschäftsführer", "+49 30 23125 223", Some((1968, 4, 4)), "001023", ""),
    ("Imogen", "Fairweather", "imogen@marigoldhome.example", "Care Coordinator", "+44 7700 900124", Some((1989, 10, 31)), "001024", ""),
    ("Caleb", "Stone", "caleb.stone@basalt.example", "Procurement", "+1 617 555 0126", Some((1979, 9, 16)), "001025", ""),
    ("Winifred", "Perry", "winnie@perrywinkle.example", "Founder", "+44 7700 900127", Some((1964, 12, 12)), "001027", ""),
    ("Ludwig", "Achternbusch", "l.achternbusch@isarblick.example", "Makler", "+49 30 23125 228", Some((1972, 2, 14)), "001028", ""),
    ("Joana", "Moinho", "joana@velhomoinho.example", "Agronomist", "+351 21 555 0230", Some((1994, 8, 1)), "001030", ""),
    ("Reto", "Grau", "reto.grau@grauwacke.example", "Bauleiter", "+41 44 555 02 31", Some((1976, 11, 11)), "001031", ""),
];

pub(super) fn drop() -> Drop {
    let text = |text: &'static str| if text.is_empty() { Entry::Nothing } else { Entry::Text(text) };
    let rows = ROWS.iter().map(|row| {
        let (first, last, email, title, mobile, birthday, company, about) = *row;
        let birthday = birthday.map(|(year, month, day)| Entry::Day(date(year, month, day)));
        vec![
            Entry::Text(first),
            Entry::Text(last),
            Entry::Text(email),
            Entry::Text(title),
            Entry::Text(mobile),
            birthday.unwrap_or(Entry::Nothing),
            Entry::Text(company),
            text(about),
        ]
    });
    Drop { workbook: CONTACTS, sheet: "Contacts", headers: &HEADERS, rows: rows.collect() }
}
