//! QR codes in the terminal: two modules a character, by half blocks.
//!
//! Scanners want dark modules on a light ground. Where colours may be used they are set, so that it is right on every theme; elsewhere the
//! blocks stand for the light modules, which is right on a dark ground, as most terminals have.

use qrcode::render::unicode::Dense1x2;
use qrcode::types::QrError;
use qrcode::{EcLevel, QrCode};

use super::style::Style;

/// Modules of empty space on each side, which is part of the code.
const QUIET_ZONE: usize = 4;

/// A text as a QR code, at the lowest level of error correction: it is read from a screen, not from a crumpled paper.
///
/// # Errors
/// When the text is longer than any code holds.
pub(crate) fn encode(text: &str) -> Result<QrCode, QrError> {
    QrCode::with_error_correction_level(text, EcLevel::L)
}

/// How many characters wide it is.
pub(crate) fn width(code: &QrCode) -> usize {
    code.width() + 2 * QUIET_ZONE
}

/// Its lines.
pub(crate) fn lines(code: &QrCode, style: &Style) -> Vec<String> {
    let (dark, light) = if style.colours { (Dense1x2::Dark, Dense1x2::Light) } else { (Dense1x2::Light, Dense1x2::Dark) };
    let image = code.render::<Dense1x2>().dark_color(dark).light_color(light).quiet_zone(true).build();
    let colour = |line: &str| if style.colours { format!("{BLACK_ON_WHITE}{line}{RESET}") } else { line.to_owned() };
    image.lines().map(colour).collect()
}

const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules of a code, from its lines: `true` is dark.
    fn modules(lines: &[String], colours: bool) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in lines {
            let line = line.trim_start_matches(BLACK_ON_WHITE).trim_end_matches(RESET);
            let halves = |top: bool| {
                let filled = move |block: char| block == '█' || block == if top { '▀' } else { '▄' };
                line.chars().map(move |block| filled(block) == colours).collect::<Vec<bool>>()
            };
            rows.push(halves(true));
            rows.push(halves(false));
        }
        rows
    }

    #[test]
    fn what_is_printed_is_the_code_with_its_quiet_zone() {
        let code = encode("NODESPACE-ABCDEFG234567").unwrap();
        for colours in [true, false] {
            let lines = lines(&code, &Style { is_terminal: true, colours });
            let rows = modules(&lines, colours);
            let expected = code.to_colors();
            for (index, colour) in expected.iter().enumerate() {
                let (x, y) = (index % code.width(), index / code.width());
                assert_eq!(rows[y + QUIET_ZONE][x + QUIET_ZONE], *colour == qrcode::Color::Dark, "{x}, {y}");
            }
            assert!(rows[..QUIET_ZONE].iter().flatten().all(|dark| !dark));
            assert_eq!(rows[0].len(), width(&code));
        }
    }

    #[test]
    fn upper_case_base32_is_packed_well() {
        let upper = encode(&format!("NODESPACE-{}", "A2".repeat(150))).unwrap();
        let lower = encode(&format!("nodespace-{}", "a2".repeat(150))).unwrap();
        assert!(upper.width() < lower.width(), "{} {}", upper.width(), lower.width());
    }
}
