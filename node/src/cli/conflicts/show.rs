//! A conflict for people: who made what, side by side.

use std::io;

use nodespace_node::model::ConflictDetail;
use serde_json::Value;

use super::super::output::Output;
use super::super::style::{Tone, preview};
use super::super::table::{Cell, Table};
use super::diff;

/// The field whose sides are texts.
const CONTENT: &str = "content";

/// Prints everything about a conflict.
pub(super) fn print(out: &mut Output, detail: &ConflictDetail) -> io::Result<()> {
    print_summary(out, detail)?;
    let sides: Vec<&Value> = detail.context["sides"].as_array().into_iter().flatten().collect();
    print_sides(out, &sides)?;
    let (ancestor, now) = (&detail.context["ancestor"], &detail.context["provisional"]);
    let texts: Vec<&str> = sides.iter().filter_map(|side| side["value"].as_str()).collect();
    if detail.summary.field == CONTENT && texts.len() == sides.len() && texts.len() >= 2 {
        for (index, other) in texts.iter().enumerate().skip(1) {
            heading(out, &format!("side 1 and side {}", index + 1))?;
            diff::print(out, texts[0], other)?;
        }
        text(out, "before the sides parted", ancestor)?;
        return text(out, "what holds meanwhile", now);
    }
    let mut table = Table::plain();
    table.pair("before", shown(ancestor));
    for (index, side) in sides.iter().enumerate() {
        table.pair(&format!("side {}", index + 1), shown(&side["value"]));
    }
    table.pair("now", Cell::toned(Tone::Bold, shown(now)));
    out.line("")?;
    out.table(&table)
}

fn print_summary(out: &mut Output, detail: &ConflictDetail) -> io::Result<()> {
    let summary = &detail.summary;
    let mut table = Table::plain();
    table.pair("conflict", Cell::toned(Tone::Bold, summary.id.as_str()));
    table.pair("node", summary.node_id.as_str());
    table.pair("what", format!("{} on {}", summary.kind, summary.field));
    let meeting = if summary.live { "the sides still stand side by side" } else { "the sides have met" };
    table.pair("status", format!("{}; {meeting}", summary.status.replace('_', " ")));
    out.table(&table)
}

fn print_sides(out: &mut Output, sides: &[&Value]) -> io::Result<()> {
    let word = |side: &Value, member: &str| side[member].as_str().unwrap_or("unknown").to_owned();
    let mut table = Table::new(["side", "operation", "at", "device", "user"]);
    for (index, side) in sides.iter().enumerate() {
        let [op, at, device, user] = ["checksum", "timestamp", "device_id", "user_id"].map(|member| word(side, member));
        let short = |text: &str| text.get(..12).unwrap_or(text).to_owned();
        table.row([(index + 1).to_string().into(), short(&op).into(), at.into(), short(&device).into(), short(&user).into()]);
    }
    out.line("")?;
    out.table(&table)
}

fn heading(out: &mut Output, text: &str) -> io::Result<()> {
    let heading = out.style.paint(Tone::Bold, text).into_owned();
    out.line(format_args!("\n{heading}"))
}

fn text(out: &mut Output, name: &str, value: &Value) -> io::Result<()> {
    heading(out, name)?;
    let shown = value.as_str().map_or_else(|| shown(value), |text| out.style.text(text).into_owned());
    out.line(shown)
}

/// A value on one line.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => preview(text, 200),
        other => preview(&other.to_string(), 200),
    }
}
