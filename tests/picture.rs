//! The pictures: what they show is what was declared, nothing runs into anything else, and they grow with the network.

use std::collections::{BTreeMap, BTreeSet};

use nixvol_net::model::End;
use nixvol_net::plan::Plan;
use nixvol_net::render::picture::{KernelNames, WIDTH, mermaid, svg, text};
use roxmltree::{Document, Node};
use serde_json::{Value, json};

use crate::support::{declared, fixture, names, providers, run, topologies};

/// Every topology that is drawn here: the usual ones, and three that are hard to draw.
fn drawn() -> Vec<(&'static str, Value)> {
    let mut all = topologies();
    all.extend([("nothing", providers(0)), ("crossed", crossed()), ("longest", longest())]);
    all.push(("conditions", fixture("ways.json")));
    let mut slow = longest();
    slow["links"][0]["conditions"] =
        json!({ "latencyMs": 10000, "loss": 0.123_456, "bandwidthKbit": 2_147_483 });
    all.push(("longest and slow", slow));
    all
}

/// Twelve providers, thirty volumes, links of every kind of end in both directions.
fn crossed() -> Value {
    let mut input = providers(12);
    for n in 0..30 {
        let (provider, host) = (n % 12, n / 12 + 2);
        input["volumes"][format!("vol-{n}")] =
            json!({ "provider": format!("p{provider}"), "address": format!("10.0.{provider}.{host}") });
    }
    let pair = |n: usize, step: usize| json!({ "from": [format!("p{n}")], "to": [format!("p{}", (n * step + 1) % 12)], "protocol": "tcp", "ports": [n + 1] });
    let far = |n: usize| json!({ "from": [format!("vol-{n}")], "to": [format!("p{}", (n + 5) % 12)], "protocol": "udp", "bidirectional": n.is_multiple_of(2) });
    input["links"] =
        (0..12).filter(|n| (n * 7 + 1) % 12 != *n).map(|n| pair(n, 7)).chain((0..30).map(far)).collect();
    input
}

/// The longest of everything that a declaration can hold.
fn longest() -> Value {
    let name = |letter: char| letter.to_string().repeat(24);
    let (first, second, volume) = (name('a'), name('b'), name('v'));
    json!({
        "version": 1,
        "providers": {
            &first: { "network": "192.168.100.0/24", "gateway": "192.168.100.254/24", "bridge": name('c'), "attachment": "vmnet" },
            &second: { "network": "172.16.128.0/22", "gateway": "172.16.131.254/22", "bridge": name('d') },
        },
        "volumes": {
            &volume: { "provider": &second, "address": "172.16.130.222", "localhost": "127.0.1.222", "publish": [65535] },
            name('w'): { "provider": &first, "address": "192.168.100.222", "attachment": "guest" },
        },
        "links": [{ "from": [&first], "to": [&volume], "protocol": "tcp", "ports": ["10000-20000", 65535], "masquerade": true }],
    })
}

fn plan(input: &Value) -> Plan {
    Plan::of(&declared(input))
}

/// What a Mac might call every logical name.
fn kernel(plan: &Plan) -> KernelNames {
    let bridges = plan.bridges.iter().map(|bridge| bridge.logical.to_string());
    let ports = plan.volumes.iter().filter_map(|volume| volume.port.as_ref()).map(ToString::to_string);
    (20_000..).zip(bridges.chain(ports)).map(|(unit, logical)| (logical, format!("feth{unit}"))).collect()
}

#[test]
fn the_text_fits() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        for kernel in [KernelNames::new(), kernel(&plan)] {
            let text = text(&plan, &kernel);
            let widest = text.lines().max_by_key(|line| line.chars().count()).expect("lines");
            assert!(widest.chars().count() <= WIDTH, "{topology}: {widest}");
            let frame: BTreeSet<usize> =
                text.lines().take_while(|line| !line.is_empty()).map(|line| line.chars().count()).collect();
            assert_eq!(frame.len(), 1, "{topology}: the frame is ragged");
        }
    }
}

#[test]
fn the_text_shows_everything() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        let text = text(&plan, &KernelNames::new());
        let bridges = plan.bridges.iter().flat_map(|it| {
            [it.provider.to_string(), it.logical.to_string(), it.gateway.to_string(), it.network.to_string()]
        });
        let volumes = plan.volumes.iter().flat_map(|it| {
            let port = it.port.as_ref().map(ToString::to_string);
            [Some(it.name.to_string()), Some(it.address.to_string()), it.alias.map(|it| it.to_string()), port]
        });
        for word in bridges.chain(volumes.flatten()) {
            assert!(text.contains(&word), "{topology}: {word}");
        }
    }
}

#[test]
fn kernel_names_stand_beside_logical_ones() {
    let plan = plan(&fixture("rich.json"));
    let mut kernel = KernelNames::new();
    kernel.insert("bridge-aws".to_owned(), "bridge2000".to_owned());
    kernel.insert("veth-api".to_owned(), "feth20000".to_owned());
    let (svg, mermaid) = (svg(&plan, &kernel).expect("a picture"), mermaid(&plan, &kernel));
    for picture in [text(&plan, &kernel), svg, mermaid] {
        assert!(picture.contains("bridge-aws = bridge2000"));
        assert!(picture.contains("veth-api = feth20000"));
        assert!(picture.contains("bridge-lab") && !picture.contains("bridge-lab ="));
    }
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Area {
    fn of_rect(node: Node) -> Self {
        let at = |name| number(node.attribute(name));
        Self { left: at("x"), top: at("y"), right: at("x") + at("width"), bottom: at("y") + at("height") }
    }

    /// What a text may take in any monospaced font: 0.62 of its size a character, and its height.
    fn of_text(node: Node) -> Self {
        let class = node.attribute("class").unwrap_or_default();
        let size = match class {
            "name" => 13.0,
            "number" => 10.0,
            _ => 12.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "texts are short")]
        let width = node.text().unwrap_or_default().chars().count() as f64 * size * 0.62;
        let (x, y) = (number(node.attribute("x")), number(node.attribute("y")));
        let left = if class == "number" { x - width / 2.0 } else { x };
        Self { left, top: y - size * 0.8, right: left + width, bottom: y + size * 0.25 }
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left
            && other.right <= self.right
            && self.top <= other.top
            && other.bottom <= self.bottom
    }
}

fn number(text: Option<&str>) -> f64 {
    text.unwrap_or("0").parse().expect("a number")
}

fn elements<'a>(document: &'a Document, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    document.descendants().filter(move |node| node.has_tag_name(name))
}

fn has_class(node: &Node, class: &str) -> bool {
    node.attribute("class") == Some(class)
}

#[test]
fn no_text_of_the_svg_meets_another_or_leaves_its_box() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        for kernel in [KernelNames::new(), kernel(&plan)] {
            let picture = svg(&plan, &kernel).expect("a picture");
            let document = Document::parse(&picture).expect("XML");
            let paper = Area::of_rect(elements(&document, "rect").next().expect("paper"));
            let texts: Vec<(Node, Area)> =
                elements(&document, "text").map(|node| (node, Area::of_text(node))).collect();
            assert!(!texts.is_empty());
            for (index, (node, area)) in texts.iter().enumerate() {
                let words = node.text().unwrap_or_default();
                assert!(paper.holds(area), "{topology}: {words} leaves the paper");
                for (other, beside) in &texts[index + 1..] {
                    assert!(
                        !area.meets(beside),
                        "{topology}: {words} meets {}",
                        other.text().unwrap_or_default()
                    );
                }
                let own: Vec<Area> = node
                    .prev_siblings()
                    .chain(node.next_siblings())
                    .filter(|node| {
                        node.has_tag_name("rect") && !has_class(node, "paper") && !has_class(node, "frame")
                    })
                    .map(Area::of_rect)
                    .collect();
                assert!(
                    own.is_empty() || own.iter().any(|own| own.holds(area)),
                    "{topology}: {words} leaves its box"
                );
            }
        }
    }
}

#[test]
fn no_box_of_the_svg_meets_another() {
    for (topology, input) in drawn() {
        let picture = svg(&plan(&input), &KernelNames::new()).expect("a picture");
        let document = Document::parse(&picture).expect("XML");
        for class in [&["box"][..], &["volume", "port"], &["badge", "box"]] {
            let areas: Vec<Area> = elements(&document, "rect")
                .filter(|node| class.iter().any(|class| has_class(node, class)))
                .map(Area::of_rect)
                .collect();
            for (index, area) in areas.iter().enumerate() {
                assert!(
                    areas[index + 1..].iter().all(|other| !area.meets(other)),
                    "{topology}: {class:?} {area:?}"
                );
            }
        }
    }
}

/// A horizontal line: its height, where it begins, and the lane where it ends.
type Horizontal = (i64, i64, i64);

/// The parts of a path that are `Mx yHx`.
fn horizontals(path: &str) -> Vec<Horizontal> {
    let mut found = Vec::new();
    for part in path.split('M').skip(1) {
        let Some((start, end)) = part.split_once('H') else { continue };
        let (x, y) = start.split_once(' ').expect("two numbers");
        let whole = |text: &str| text.parse().expect("a whole number");
        found.push((whole(y), whole(x), whole(end)));
    }
    found
}

/// The marks of a path: where each is, and its first step.
fn marks(path: &str) -> Vec<(i64, i64, &str)> {
    path.split('M')
        .skip(1)
        .map(|part| {
            let at = part.find(['a', 'l']).expect("a shape");
            let (x, y) = part[..at].split_once(' ').expect("two numbers");
            (x.parse().expect("a number"), y.parse().expect("a number"), &part[at..])
        })
        .collect()
}

/// The lines that join boxes to lanes.
fn joints(document: &Document) -> Vec<Horizontal> {
    let paths = elements(document, "path").filter(|node| has_class(node, "stub") || has_class(node, "line"));
    paths.flat_map(|node| horizontals(node.attribute("d").expect("a path"))).collect()
}

#[test]
fn no_two_lines_of_the_svg_run_into_each_other() {
    for (topology, input) in drawn() {
        let picture = svg(&plan(&input), &KernelNames::new()).expect("a picture");
        let document = Document::parse(&picture).expect("XML");
        let mut by_height: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        for (y, from, to) in joints(&document) {
            by_height.entry(y).or_default().push((from.min(to), from.max(to)));
        }
        let mut by_place: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        for node in elements(&document, "path").filter(|node| has_class(node, "line")) {
            let path = node.attribute("d").expect("a path");
            let (x, rest) = path[1..].split_once(' ').expect("two numbers");
            let Some((from, to)) = rest.split_once('V') else { continue };
            let whole =
                |text: &str| text.split('M').next().and_then(|text| text.parse().ok()).expect("a number");
            by_place.entry(whole(x)).or_default().push((whole(from), whole(to)));
        }
        assert_eq!(by_place.is_empty(), plan(&input).flows.is_empty());
        for (at, mut lines) in by_height.into_iter().chain(by_place) {
            lines.sort_unstable();
            assert!(lines.windows(2).all(|two| two[0].1 < two[1].0), "{topology}: at {at}: {lines:?}");
        }
    }
}

/// Who stands at a point of the drawing: the name in the volume's box, or in the provider's.
fn who(document: &Document, x: i64, y: i64) -> String {
    let first_text = |node: Node| {
        let text = node.children().find(|node| node.has_tag_name("text"));
        text.and_then(|node| node.text().map(str::to_owned)).expect("a name")
    };
    let edge = |node: &Node| {
        let at = |name| number(node.attribute(name));
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let (x, y) = (x as f64, y as f64);
        ((at("x") - x).abs() < 0.1 || (at("x") + at("width") - x).abs() < 0.1)
            && (at("y")..at("y") + at("height")).contains(&y)
    };
    let of_class = |class: &'static [&'static str]| {
        elements(document, "rect").find(|node| class.iter().any(|class| has_class(node, class)) && edge(node))
    };
    let rect = of_class(&["port", "volume"]).or_else(|| of_class(&["box"])).expect("an end of the line");
    first_text(rect.parent().expect("a group"))
}

#[test]
fn every_lane_of_the_svg_joins_whom_its_rule_names() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        let picture = svg(&plan, &KernelNames::new()).expect("a picture");
        let document = Document::parse(&picture).expect("XML");
        let joints = joints(&document);
        let lanes: Vec<Node> = elements(&document, "g")
            .filter(|node| node.attribute("class").is_some_and(|class| class.starts_with("lane")))
            .collect();
        assert_eq!(lanes.len(), plan.flows.len(), "{topology}");
        for lane in lanes {
            let of_class =
                |class| lane.children().find(|node| has_class(node, class)).expect("a part of a lane");
            let number: usize = of_class("number").text().expect("a number").parse().expect("a number");
            let flow = &plan.flows[number - 1];
            let x: i64 = of_class("number").attribute("x").expect("a place").parse().expect("a number");
            let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
            for (mark_x, mark_y, shape) in marks(of_class("mark").attribute("d").expect("marks")) {
                // A dot's path begins at its middle; an arrow's at its upper corner.
                let is_dot = shape.starts_with('a');
                let y = if is_dot { mark_y } else { mark_y + 4 };
                assert!((mark_x - x).abs() <= 5, "{topology}: a mark beside its lane");
                let line =
                    joints.iter().find(|(height, a, b)| *height == y && (a.min(b)..=a.max(b)).contains(&&x));
                let (_, origin, _) =
                    line.unwrap_or_else(|| panic!("{topology}: a mark of {number} without a line"));
                let name = who(&document, *origin, y);
                let away = shape.starts_with("l9") == (*origin < x);
                if is_dot || away {
                    from.insert(name.clone());
                }
                if is_dot || !away {
                    to.insert(name);
                }
            }
            let names = |ends: &[End]| ends.iter().map(|end| end.name().to_string()).collect::<BTreeSet<_>>();
            assert_eq!((from, to), (names(&flow.from), names(&flow.to)), "{topology}: rule {number}");
        }
    }
}

#[test]
fn pictures_grow_with_the_network_and_not_with_its_pairs() {
    let size = |count: usize| {
        let mut input = providers(count);
        let ring = |n: usize| json!({ "from": [format!("p{n}")], "to": [format!("p{}", (n + 1) % count)] });
        let mesh = json!({ "from": names(count), "to": names(count), "protocol": "tcp" });
        input["links"] = (0..count).map(ring).chain([mesh]).collect();
        let plan = plan(&input);
        let kernel = KernelNames::new();
        [svg(&plan, &kernel).expect("a picture"), text(&plan, &kernel), mermaid(&plan, &kernel)]
            .map(|it| it.len())
    };
    let sizes = [5, 50, 500].map(|count| (count, size(count)));
    for two in sizes.windows(2) {
        let ((few, small), (many, large)) = (two[0], two[1]);
        for (small, large) in small.into_iter().zip(large) {
            assert!(large / many <= small / few * 3 / 2, "{sizes:?}");
        }
    }
}

#[test]
fn hostile_values_stay_in_their_place() {
    let mut input = fixture("rich.json");
    let path = "/Volumes/</title></svg><script>alert(1)</script> & \"'{{ 7 }}";
    input["volumes"]["db"]["mountPoint"] = json!(path);
    let picture = svg(&plan(&input), &KernelNames::new()).expect("a picture");
    let document = Document::parse(&picture).expect("XML");
    assert_eq!(elements(&document, "script").count(), 0);
    let note = format!("db of gcp, served by this Mac, only while {path} is mounted");
    assert!(elements(&document, "title").any(|node| node.text() == Some(&note)));
}

#[test]
fn the_svg_needs_nothing_but_itself() {
    for (topology, input) in drawn() {
        let picture = svg(&plan(&input), &KernelNames::new()).expect("a picture");
        let namespace = "xmlns=\"http://www.w3.org/2000/svg\"";
        for word in ["http", "url(", "href", "@import", "<script", "<image", "<foreignObject"] {
            assert!(!picture.replacen(namespace, "", 1).contains(word), "{topology}: {word}");
        }
        let document = Document::parse(&picture).expect("XML");
        let root = document.root_element();
        assert_eq!(root.attribute("role"), Some("img"));
        for id in root.attribute("aria-labelledby").expect("a label").split(' ') {
            assert!(document.descendants().any(|node| node.attribute("id") == Some(id)), "{topology}: {id}");
        }
        assert!(picture.contains("prefers-color-scheme: dark") && picture.ends_with("</svg>\n"));
    }
}

#[test]
fn mermaid_names_everything_once_and_joins_only_what_it_names() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        let picture = mermaid(&plan, &KernelNames::new());
        let mut nodes = BTreeSet::new();
        for line in picture.lines().skip(1).map(str::trim) {
            if let Some((node, _)) = line.split_once(['[', '{']) {
                let node = node.trim_start_matches("subgraph ");
                assert!(nodes.insert(node.to_owned()), "{topology}: {node} twice");
                assert_eq!(line.matches('"').count(), 2, "{topology}: {line}");
            }
        }
        let arrows = picture.lines().filter(|line| line.contains("-->")).collect::<Vec<_>>();
        for line in &arrows {
            let (from, to) = line.trim().split_once("-->").expect("an arrow");
            for end in [from.trim_end_matches([' ', '<']), to.trim()] {
                assert!(nodes.contains(end), "{topology}: {line}");
            }
        }
        let taps =
            |flow: &nixvol_net::plan::Flow| flow.from.iter().chain(&flow.to).collect::<BTreeSet<_>>().len();
        assert_eq!(arrows.len(), plan.flows.iter().map(taps).sum::<usize>(), "{topology}");
    }
}

#[test]
fn a_rule_says_what_it_is_like_where_all_its_packets_are_so() {
    let legend = |links: &Value| {
        let mut input = fixture("ways.json");
        input["links"] = links.clone();
        let plan = plan(&input);
        let words = text(&plan, &KernelNames::new());
        let (_, words) = words.split_once("\nBetween providers:\n").expect("a legend");
        let words = words.split("\n● ").next().expect("a part").trim_end().to_owned();
        // Both other pictures say the same.
        let (svg, mermaid) =
            (svg(&plan, &KernelNames::new()).expect("svg"), mermaid(&plan, &KernelNames::new()));
        for line in words.lines().filter(|line| line.contains(" ms")) {
            let says =
                line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).replace("->", "-&gt;");
            assert!(svg.contains(&says), "{says}");
            let says = says.replace("-&gt;", "-#gt;");
            assert!(mermaid.contains(&says), "{says}: {mermaid}");
        }
        words
    };
    let slow = json!({ "latencyMs": 40, "loss": 0.01 });
    let tcp = |to: &str, port: u16, conditions: &Value| json!({ "from": ["aws"], "to": [to], "protocol": "tcp", "ports": [port], "conditions": conditions });
    assert_eq!(
        legend(&json!([tcp("azure", 2379, &slow), tcp("gcp", 22, &Value::Null)])),
        "  1  aws -> azure tcp 2379, 40 ms, 1% lost\n  2  aws -> gcp tcp 22"
    );
    // Conditions go by ends alone: a rule of other ports is like its way.
    assert_eq!(
        legend(&json!([tcp("azure", 2379, &slow), tcp("etcd-2", 22, &Value::Null)])),
        "  1  aws -> azure tcp 2379, 40 ms, 1% lost\n  2  aws -> etcd-2 tcp 22, 40 ms, 1% lost"
    );
    // Some of its packets are not like that, or like something else.
    assert_eq!(
        legend(&json!([tcp("azure", 22, &Value::Null), tcp("etcd-2", 2379, &slow)])),
        "  1  aws -> azure tcp 22\n  2  aws -> etcd-2 tcp 2379, 40 ms, 1% lost\n\n\
         With conditions, the narrower path first:\n     aws -> etcd-2: 40 ms, 1% lost"
    );
    assert_eq!(
        legend(&json!([tcp("azure", 22, &json!({ "latencyMs": 5 })), tcp("etcd-2", 23, &slow)])),
        "  1  aws -> azure tcp 22\n  2  aws -> etcd-2 tcp 23, 40 ms, 1% lost\n\n\
         With conditions, the narrower path first:\n     aws -> azure: 5 ms\n     aws -> etcd-2: 40 ms, 1% lost"
    );
    // One way among several of a rule.
    let several = json!([{ "from": ["aws"], "to": ["azure", "gcp"] }, tcp("gcp", 22, &slow)]);
    assert!(legend(&several).starts_with("  1  aws -> azure, gcp any protocol\n"), "{}", legend(&several));
}

#[test]
fn graph_prints_what_the_bundle_holds() {
    let bundle = crate::support::rendered(&fixture("rich.json"));
    let input = fixture("rich.json").to_string();
    for (format, path) in [("text", "topology.txt"), ("svg", "topology.svg")] {
        let output = run(&["graph", "--input", "-", "--format", format], &input);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stdout), bundle.files[path].text);
    }
    let mermaid = run(&["graph", "--input", "-", "--format", "mermaid"], &input);
    assert!(String::from_utf8_lossy(&mermaid.stdout).starts_with("flowchart LR\n"));
    let bad = run(&["graph", "--input", "-"], "{}");
    assert_eq!((bad.status.code(), bad.stdout.is_empty()), (Some(2), true));
}
