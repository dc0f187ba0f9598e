//! Plots as SVG.

use anyhow::{Result, anyhow};
use plotters::chart::MeshStyle;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use super::Report;

/// The size of a plot, in pixels.
const SIZE: (u32, u32) = (900, 300);

/// Colours that stay apart for most eyes (Okabe and Ito); devices beyond them begin anew.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 110, 20),
    RGBColor(70, 70, 70),
];
/// An axis that ends below has a label for each whole number, and none between them.
const COUNTED_BELOW: f64 = 10.0;
const GRID: RGBColor = RGBColor(228, 230, 234);
const QUIET: RGBColor = RGBColor(0, 158, 115);
const TEXT: RGBColor = RGBColor(60, 64, 72);

/// A line of a plot.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// What is drawn and how its axes are called.
struct Sheet<'a> {
    x: &'a str,
    y: &'a str,
    x_max: f64,
    series: Vec<Series>,
    /// Whether the y axis is logarithmic.
    logarithmic: Scale,
    /// Vertical lines: when something happened.
    marks: Vec<f64>,
    /// From here on it was quiet.
    quiet: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

/// How a device's colour is written in the page.
pub(super) fn colour(number: usize) -> String {
    let RGBColor(red, green, blue) = COLOURS[number % COLOURS.len()];
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Operations held by each device, over time.
pub(super) fn operations(report: &Report) -> Result<String> {
    let series = report.devices.iter().enumerate().map(|(number, name)| {
        let points = report.samples.iter().filter_map(|sample| Some((sample.at_s, sample.operations[number]? as f64)));
        Series { name: name.clone(), points: points.collect() }
    });
    draw(&Sheet { y: "operations held", series: series.collect(), ..over_time(report) })
}

/// How many different states there were, over time.
pub(super) fn states(report: &Report) -> Result<String> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for sample in &report.samples {
        // As steps: a number of states has nothing in between.
        if let Some((_, before)) = points.last().copied() {
            points.push((sample.at_s, before));
        }
        points.push((sample.at_s, sample.states as f64));
    }
    draw(&Sheet { y: "different states", series: vec![Series { name: "states".into(), points }], ..over_time(report) })
}

/// What passed the wires, over time.
pub(super) fn bytes(report: &Report) -> Result<String> {
    let points = report.samples.windows(2).filter_map(|pair| {
        let (before, after) = (&pair[0], &pair[1]);
        let seconds = after.at_s - before.at_s;
        (seconds > 0.0).then(|| (after.at_s, (after.bytes - before.bytes) as f64 / 1024.0 / seconds))
    });
    draw(&Sheet { y: "KiB/s, all wires", series: vec![Series { name: "bytes".into(), points: points.collect() }], ..over_time(report) })
}

/// How long until all others saw a write: for each phase, the time that a share of the writes did not exceed.
pub(super) fn latency(report: &Report) -> Result<String> {
    let series = report.latencies.iter().filter(|latency| latency.everywhere.count > 0).map(|latency| {
        let curve = latency.everywhere.curve_ms.iter().enumerate();
        // Below a tenth of a millisecond nothing is measured; a logarithm wants more than nothing.
        Series { name: latency.phase.clone(), points: curve.map(|(half, ms)| (half as f64 / 2.0, ms.max(0.1))).collect() }
    });
    draw(&Sheet {
        x: "% of the writes",
        y: "ms until seen by all",
        x_max: 100.0,
        series: series.collect(),
        logarithmic: Scale::Logarithmic,
        marks: Vec::new(),
        quiet: None,
    })
}

fn over_time(report: &Report) -> Sheet<'static> {
    let last = report.samples.last().map_or(1.0, |sample| sample.at_s);
    Sheet {
        x: "seconds",
        y: "",
        x_max: last.max(1.0),
        series: Vec::new(),
        logarithmic: Scale::Linear,
        marks: report.moments.iter().map(|moment| moment.at_s).collect(),
        quiet: Some(report.convergence.begun_s),
    }
}

fn draw(sheet: &Sheet<'_>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let highest = sheet.series.iter().flat_map(|series| &series.points).map(|(_, y)| *y).fold(1.0, f64::max);
        let mut builder = ChartBuilder::on(&area);
        builder.margin(12).x_label_area_size(42).y_label_area_size(64);
        match sheet.logarithmic {
            Scale::Linear => {
                let mut chart = builder.build_cartesian_2d(0.0..sheet.x_max, 0.0..highest * 1.08).map_err(failed)?;
                let mut style = chart.configure_mesh();
                if highest < COUNTED_BELOW {
                    style.y_labels(highest as usize + 1);
                }
                mesh(style, sheet)?;
                background(&chart.plotting_area().clone(), sheet, (0.0, highest * 1.08))?;
                lines(&mut chart, sheet)?;
            }
            Scale::Logarithmic => {
                let range = (0.5..(highest * 1.5).max(10.0)).log_scale();
                let mut chart = builder.build_cartesian_2d(0.0..sheet.x_max, range).map_err(failed)?;
                mesh(chart.configure_mesh(), sheet)?;
                lines(&mut chart, sheet)?;
            }
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn mesh<X, Y>(mut style: MeshStyle<'_, '_, X, Y, SVGBackend<'_>>, sheet: &Sheet<'_>) -> Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let text = ("sans-serif", 13).into_font().color(&TEXT);
    style
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .x_desc(sheet.x)
        .y_desc(sheet.y)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style(text.clone())
        .axis_desc_style(text)
        .draw()
        .map_err(failed)
}

/// A number at an axis.
fn label(value: &f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// The quiet as a shade, events as thin lines.
fn background<X, Y>(area: &DrawingArea<SVGBackend<'_>, Cartesian2d<X, Y>>, sheet: &Sheet<'_>, (low, high): (f64, f64)) -> Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    if let Some(quiet) = sheet.quiet {
        area.draw(&Rectangle::new([(quiet, low), (sheet.x_max, high)], QUIET.mix(0.10).filled())).map_err(failed)?;
    }
    for mark in &sheet.marks {
        area.draw(&PathElement::new(vec![(*mark, low), (*mark, high)], TEXT.mix(0.25))).map_err(failed)?;
    }
    Ok(())
}

fn lines<X, Y>(chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>, sheet: &Sheet<'_>) -> Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for (number, series) in sheet.series.iter().enumerate() {
        let style = COLOURS[number % COLOURS.len()].stroke_width(2);
        let drawn = chart.draw_series(LineSeries::new(series.points.iter().copied(), style)).map_err(failed)?;
        drawn.label(&series.name);
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot cannot be drawn: {error}")
}
