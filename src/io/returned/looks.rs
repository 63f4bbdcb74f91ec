//! The formats of a returned workbook: ours grey, the sender's plain, what is wrong red.

use rust_xlsxwriter::{Color, Format, FormatAlign, FormatBorder};

use super::cells::NumberLook;

const OWN_HEADER: Color = Color::RGB(0x59_59_59);
const OWN_CELL: Color = Color::RGB(0xF2_F2_F2);
const SENDER_HEADER: Color = Color::RGB(0xDD_EB_F7);
const WRONG: Color = Color::RGB(0xFF_C7_CE);
const LINE: Color = Color::RGB(0xD9_D9_D9);

/// Whether a cell is to be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    Wrong,
}

/// All formats of one workbook, made once.
pub(super) struct Looks {
    pub(super) own_header: Format,
    pub(super) sender_header: Format,
    /// The column of row numbers.
    pub(super) own_number: Format,
    /// The two columns of sentences.
    pub(super) own_sentence: Format,
    /// A sentence about the row as a whole, no cell of which is at fault.
    pub(super) own_sentence_wrong: Format,
    /// The hidden ids.
    pub(super) id: Format,
    /// By look, then mood, then whether the cell is quoted.
    cells: Vec<Format>,
}

impl Looks {
    pub(super) fn new() -> Self {
        let header = Format::new().set_bold().set_align(FormatAlign::VerticalCenter);
        let own = bordered(Format::new()).set_align(FormatAlign::Top).set_background_color(OWN_CELL);
        let sentence = own.clone().set_text_wrap();
        let mut cells = Vec::new();
        for look in NumberLook::ALL {
            let plain = look.on(Format::new().set_align(FormatAlign::Top));
            let wrong = bordered(plain.clone()).set_background_color(WRONG);
            for format in [plain, wrong] {
                cells.push(format.clone());
                cells.push(format.set_quote_prefix());
            }
        }
        Looks {
            own_header: header.clone().set_background_color(OWN_HEADER).set_font_color(Color::White),
            sender_header: bordered(header).set_background_color(SENDER_HEADER),
            own_number: own.clone().set_align(FormatAlign::Center),
            own_sentence: sentence.clone(),
            own_sentence_wrong: sentence.set_background_color(WRONG),
            id: NumberLook::Text.on(Format::new()),
            cells,
        }
    }

    /// The format of a cell of the sender.
    pub(super) fn cell(&self, look: NumberLook, mood: Mood, quoted: bool) -> &Format {
        &self.cells[look as usize * 4 + mood as usize * 2 + usize::from(quoted)]
    }
}

fn bordered(format: Format) -> Format {
    format.set_border(FormatBorder::Thin).set_border_color(LINE)
}
