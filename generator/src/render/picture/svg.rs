//! The picture as SVG: the position of everything in pixels, for a template that only places it.
//!
//! Text widths are estimated generously for monospaced fonts, so that text stays inside its box in all common ones.
//! Elements for a provider, volume or link name it in an attribute, so that a page can highlight related ones.

mod boxes;
mod elements;
mod sheet;

use serde::Serialize;

use super::KernelNames;
use super::scene::{CONDITIONS, MAC, OUTSIDE, Scene};
use crate::identity::COLOURS;
use crate::model::Name;
use crate::plan::Plan;
use crate::render::{RenderError, engine};
use boxes::Boxes;
use elements::{Alias, Boxed, LINE, Linked, MARGIN, PAD, Rectangle, Styled, Text, cut};
use sheet::Sheet;

#[derive(Serialize)]
struct Drawing {
    width: usize,
    height: usize,
    title: String,
    description: String,
    colours: Vec<(usize, &'static str, &'static str)>,
    frame: Rectangle,
    rectangles: Vec<Styled>,
    arrow: String,
    boxes: Vec<Boxed>,
    links: Vec<Linked>,
    aliases: Vec<Alias>,
    texts: Vec<Text>,
}

/// The drawing, with its newline.
pub fn svg(plan: &Plan, kernel: &KernelNames, around: &[Name]) -> Result<String, RenderError> {
    let scene = Scene::of(plan, kernel, around);
    engine::render("picture/topology.svg", drawing(plan, &scene))
}

fn drawing(plan: &Plan, scene: &Scene) -> Drawing {
    let boxes = Boxes::of(scene);
    let mut sheet = Sheet::of(scene, &boxes);
    let mut y = sheet.top(scene);
    let links = sheet.links(scene, &boxes, &mut y);
    let drawn = sheet.boxes(scene, &boxes, &mut y);
    let (mut rectangles, aliases) = sheet.bottom(scene, &mut y);
    let frame =
        Rectangle { x: MARGIN, y: sheet.frame, width: sheet.width - 2 * MARGIN, height: y - sheet.frame };
    let middle = sheet.width / 2;
    rectangles.push(sheet.internet(scene));
    let mut texts =
        vec![Text { x: MARGIN + PAD, y: sheet.frame + LINE + 4, class: "name", words: "macOS".to_owned() }];
    texts.push(Text {
        x: middle + PAD,
        y: sheet.frame - PAD,
        class: "small",
        words: cut(&format!("NAT: {}", scene.internet), sheet.width / 2 / 8),
    });
    y += LINE + 4;
    let mut line = |words: String| {
        texts.push(Text {
            x: MARGIN + PAD,
            y,
            class: "small",
            words: cut(&words, (sheet.width - 4 * MARGIN) / 7),
        });
        y += LINE;
    };
    line(match scene.links.len() {
        0 => scene.heading().to_owned(),
        _ => "A line leads to each end of a link; its arrow points at whom the link lets be reached."
            .to_owned(),
    });
    if scene.conditions {
        line(CONDITIONS.to_owned());
    }
    let left = scene.left.clone().into_iter();
    left.chain(Scene::no_room(scene.links.len() - sheet.links_shown())).for_each(line);
    let arrow = format!("M{middle} {}V{}m-4 7l4-7l4 7", sheet.frame, sheet.frame - 26);
    let colours = COLOURS.iter().enumerate().map(|(number, it)| (number, it.light, it.dark)).collect();
    Drawing {
        width: sheet.width,
        height: y + MARGIN / 2,
        title: title(plan, scene),
        description: description(scene),
        colours,
        frame,
        rectangles,
        arrow,
        boxes: drawn,
        links,
        aliases,
        texts,
    }
}

fn title(plan: &Plan, scene: &Scene) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "nixvol-net: {}, {}, {}",
        counted(plan.bridges.len(), "provider"),
        counted(plan.volumes.len(), "volume"),
        counted(scene.links.len(), "link")
    )
}

/// The picture in words, for screen readers.
fn description(scene: &Scene) -> String {
    let mut sentences: Vec<String> = vec![format!("internet: NAT: {}; {OUTSIDE}.", scene.internet)];
    sentences.push(format!("This Mac {MAC}."));
    for group in &scene.groups {
        let internet = if group.internet { "NAT to the internet" } else { "no internet" };
        sentences.push(format!(
            "{}: {}, gateway {}, network {}, {internet}.",
            group.name, group.bridge, group.gateway, group.network
        ));
        for cell in &group.cells {
            let port = cell.port.as_ref().map_or(String::new(), |port| format!(" at {port}"));
            sentences.push(format!("{} {}{port}.", cell.name, cell.address));
        }
    }
    let localhost = &scene.localhost;
    sentences
        .push(format!("localhost: {}, gateway {}, aliases on lo0.", localhost.bridge, localhost.gateway));
    sentences.extend(localhost.lines.iter().map(|(what, leads, _)| format!("{what} {leads}.")));
    sentences.push(scene.heading().to_owned());
    sentences.extend(scene.links.iter().map(|link| format!("{}: {}.", link.name, link.words())));
    if scene.conditions {
        sentences.push(CONDITIONS.to_owned());
    }
    sentences.join(" ")
}
