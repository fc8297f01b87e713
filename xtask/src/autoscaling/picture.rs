//! The picture: connections of each gateway, how many gateways are asked for, and how far the fullest is over the mean.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use wscluster_tests::autoscaling::{Run, Sample};

const SIZE: (u32, u32) = (960, 760);
/// Told apart by most eyes, also where red and green look alike.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(120, 120, 0),
    RGBColor(90, 90, 90),
];
const INK: RGBColor = RGBColor(60, 60, 60);

/// One line of a panel: its points, its colour and its width.
struct Line(Vec<(f64, f64)>, RGBColor, u32);

/// Draws a run.
pub(super) fn draw(run: &Run, to: &Path) -> Result<()> {
    ensure!(run.samples.len() > 1, "the run has no samples");
    let mut text = String::new();
    drawing(run, &mut text).map_err(|error| anyhow!("cannot draw: {error}"))?;
    std::fs::write(to, text)?;
    Ok(())
}

fn drawing(run: &Run, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(400);
    let (middle, lower) = lower.split_vertically(160);
    panel(run, &upper, "Connections: all together (grey) and of each gateway", &connections(run))?;
    let wanted = Line(steps(run, |sample| f64::from(sample.wanted)), COLOURS[0], 2);
    let there = Line(steps(run, |sample| sample.gateways.len() as f64), COLOURS[1], 2);
    panel(run, &middle, "Gateways asked for (blue) and there (orange)", &[there, wanted])?;
    let spread = Line(run.samples.iter().map(|sample| (sample.seconds, over(sample))).collect(), COLOURS[5], 2);
    panel(run, &lower, "Fullest gateway over the mean, in percent", &[spread])?;
    area.present()?;
    Ok(())
}

fn panel(
    run: &Run,
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let end = run.samples.last().map_or(1.0, |sample| sample.seconds);
    let top = lines.iter().flat_map(|line| &line.0).map(|point| point.1).fold(1.0, f64::max) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15).into_font().color(&INK))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .axis_style(INK)
        .label_style(("sans-serif", 12).into_font().color(&INK))
        .x_label_formatter(&|seconds| format!("{seconds:.0} s"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for mark in &run.marks {
        let style = RGBColor(170, 170, 170).stroke_width(1);
        chart.draw_series(std::iter::once(PathElement::new([(mark.seconds, 0.0), (mark.seconds, top)], style)))?;
    }
    for Line(points, colour, width) in lines {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(*width)))?;
    }
    // In the largest panel only; neighbours at different heights, so that they can be read.
    for (number, mark) in run.marks.iter().enumerate().filter(|_| lines.len() > 2) {
        let at = (mark.seconds, top * (0.99 - 0.06 * (number % 3) as f64));
        let side = if mark.seconds > end * 0.85 { HPos::Right } else { HPos::Left };
        let style = ("sans-serif", 12).into_font().color(&INK).pos(Pos::new(side, VPos::Top));
        chart.draw_series(std::iter::once(Text::new(format!(" {} ", mark.what), at, style)))?;
    }
    Ok(())
}

fn connections(run: &Run) -> Vec<Line> {
    let total = |sample: &Sample| (sample.seconds, sample.gateways.values().sum::<i64>() as f64);
    let mut lines = vec![Line(run.samples.iter().map(total).collect(), RGBColor(150, 150, 150), 3)];
    let mut pods = Vec::new();
    for sample in &run.samples {
        let known: BTreeSet<_> = pods.iter().cloned().collect();
        pods.extend(sample.gateways.keys().filter(|pod| !known.contains(*pod)).cloned());
    }
    for (number, pod) in pods.iter().enumerate() {
        let held = |sample: &Sample| Some((sample.seconds, *sample.gateways.get(pod)? as f64));
        lines.push(Line(run.samples.iter().filter_map(held).collect(), COLOURS[number % COLOURS.len()], 2));
    }
    lines
}

/// A number that stays until it changes.
fn steps(run: &Run, number: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for sample in &run.samples {
        let now = number(sample);
        if let Some((_, before)) = points.last().copied().filter(|(_, before)| (before - now).abs() > f64::EPSILON) {
            points.push((sample.seconds, before));
        }
        points.push((sample.seconds, now));
    }
    points
}

/// By how many percent the fullest is over the mean.
fn over(sample: &Sample) -> f64 {
    let held = sample.gateways.values().map(|held| *held as f64);
    let mean = held.clone().sum::<f64>() / sample.gateways.len().max(1) as f64;
    let most = held.fold(0.0, f64::max);
    if mean > 0.0 { (most / mean - 1.0) * 100.0 } else { 0.0 }
}
