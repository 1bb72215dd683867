//! The pictures: they show exactly what is declared, nothing overlaps, and their size is linear in the network's.

use std::collections::BTreeSet;

use nixvol_net::model::{Endpoint, Name};
use nixvol_net::plan::Plan;
use nixvol_net::render::picture::{KernelNames, WIDTH, mermaid, svg, text};
use roxmltree::{Document, Node};
use serde_json::{Value, json};

use crate::support::{declared, fixture, names, providers, run, topologies};

/// Every topology that is drawn here: the usual ones, and some that are hard to draw.
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

/// Twelve providers and thirty volumes, with links between all kinds of endpoints in both directions.
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

/// The longest value of everything in a declaration.
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

/// A kernel name for every logical name.
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
            let text = text(&plan, &kernel, &[]);
            let widest = text.lines().max_by_key(|line| line.chars().count()).expect("lines");
            assert!(widest.chars().count() <= WIDTH, "{topology}: {widest}");
            let frame: BTreeSet<usize> = text
                .lines()
                .skip_while(|line| !line.starts_with('┌'))
                .take_while(|line| !line.is_empty())
                .map(|line| line.chars().count())
                .collect();
            assert_eq!(frame.len(), 1, "{topology}: the frame is ragged");
        }
    }
}

#[test]
fn the_text_shows_everything() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        let text = text(&plan, &KernelNames::new(), &[]);
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
    let (svg, mermaid) = (svg(&plan, &kernel, &[]).expect("a picture"), mermaid(&plan, &kernel, &[]));
    for picture in [text(&plan, &kernel, &[]), svg, mermaid] {
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

    /// The area of a text in any monospaced font: 0.62 of the font size per character, and its height.
    fn of_text(node: Node) -> Self {
        let size = match node.attribute("class").unwrap_or_default() {
            "name" => 13.0,
            "small" => 11.0,
            _ => 12.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "texts are short")]
        let width = node.text().unwrap_or_default().chars().count() as f64 * size * 0.62;
        let (left, y) = (number(node.attribute("x")), number(node.attribute("y")));
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
fn no_text_of_the_svg_overlaps_another_or_leaves_its_box() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        for kernel in [KernelNames::new(), kernel(&plan)] {
            let picture = svg(&plan, &kernel, &[]).expect("a picture");
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
fn no_box_of_the_svg_overlaps_another() {
    for (topology, input) in drawn() {
        let picture = svg(&plan(&input), &KernelNames::new(), &[]).expect("a picture");
        let document = Document::parse(&picture).expect("XML");
        for class in [&["box", "label", "here", "outside"][..], &["volume"]] {
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

/// A line of a link: where it leaves its box and meets the link's label, the endpoint it leads to, and its arrow heads.
struct Drawn {
    ends: [(f64, f64); 2],
    to: String,
    heads: String,
}

/// The lines of a link's group.
fn lines(link: Node) -> Vec<Drawn> {
    let of = |class: &'static str| {
        link.children().filter(move |node| node.attribute("class").is_some_and(|it| it.starts_with(class)))
    };
    let point = |text: &str| {
        let (x, y) = text.trim().split_once(' ').expect("two numbers");
        (number(Some(x)), number(Some(y)))
    };
    let read = |(node, heads): (Node, Node)| {
        let path = node.attribute("d").expect("a path");
        let (start, curve) = path[1..].split_once('C').expect("a curve");
        let last: Vec<&str> = curve.rsplitn(3, ' ').collect();
        Drawn {
            ends: [point(start), point(&format!("{} {}", last[1], last[0]))],
            to: node.attribute("data-to").expect("an end").to_owned(),
            heads: heads.attribute("d").expect("heads").to_owned(),
        }
    };
    of("line ").zip(of("head ")).map(read).collect()
}

/// The rectangle with a class in a group.
fn area(group: Node, class: &str) -> Area {
    Area::of_rect(group.children().find(|node| has_class(node, class)).expect("a rectangle"))
}

#[test]
fn every_link_of_the_svg_has_a_line_to_each_endpoint() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        let picture = svg(&plan, &KernelNames::new(), &[]).expect("a picture");
        let document = Document::parse(&picture).expect("XML");
        let groups =
            |name: &'static str| elements(&document, "g").filter(move |node| node.attribute(name).is_some());
        assert_eq!(groups("data-link").count(), plan.links.len(), "{topology}");
        let mut starts = BTreeSet::new();
        for group in groups("data-link") {
            let index: usize = group.attribute("data-link").and_then(|it| it.parse().ok()).expect("a number");
            let link = plan.links.iter().find(|link| link.index == index).expect("a link of that number");
            let texts: Vec<&str> = group.children().filter_map(|node| node.text()).collect();
            assert!(
                texts.iter().any(|it| it.starts_with(&format!("links.{index} "))),
                "{topology}: {texts:?}"
            );
            let label = area(group, "label");
            let mut named = BTreeSet::new();
            for line in lines(group) {
                let [(x, y), (label_x, label_y)] = line.ends;
                assert!(starts.insert(format!("{x} {y}")), "{topology}: two lines leave at {x} {y}");
                // It starts at the box or row of its endpoint, and ends at its own label.
                let whose = groups("data-provider")
                    .find(|it| it.attribute("data-provider") == Some(&line.to))
                    .map(|it| area(it, "box"))
                    .or_else(|| {
                        let mut rows = groups("data-volume")
                            .filter(|it| it.children().any(|it| has_class(&it, "volume")));
                        rows.find(|it| it.attribute("data-volume") == Some(&line.to))
                            .map(|it| area(it, "volume"))
                    })
                    .unwrap_or_else(|| panic!("{topology}: {} is not drawn", line.to));
                assert!(whose.top <= y && y <= whose.bottom, "{topology}: {} of links.{index}", line.to);
                assert!(
                    (whose.left - x).abs() < 20.0 || (whose.right - x).abs() < 20.0,
                    "{topology}: {}",
                    line.to
                );
                assert!(label.top <= label_y && label_y <= label.bottom, "{topology}: links.{index}");
                assert!((label.left - label_x).abs() < 9.0 || (label.right - label_x).abs() < 9.0);
                // An arrow head points at an endpoint that is a destination, and at the label if the endpoint is a
                // source.
                let end = |ends: &BTreeSet<Endpoint>| ends.iter().any(|end| end.name().as_str() == line.to);
                let opens = end(&link.from) || (link.bidirectional && end(&link.to));
                let reached = end(&link.to) || (link.bidirectional && end(&link.from));
                assert_eq!(line.heads.matches('M').count(), usize::from(opens) + usize::from(reached));
                let heads: Vec<(f64, f64)> = line
                    .heads
                    .split('M')
                    .skip(1)
                    .map(|head| {
                        let (x, rest) = head.split_once(' ').expect("two numbers");
                        (number(Some(x)), number(rest.split('l').next()))
                    })
                    .collect();
                let at_box = heads.iter().any(|(head, _)| (head - x).abs() < 9.0);
                let at_label = heads.iter().any(|(head, _)| (head - label_x).abs() < 9.0);
                assert_eq!((at_box, at_label), (reached, opens), "{topology}: {} of links.{index}", line.to);
                named.insert(line.to);
            }
            let all: BTreeSet<String> =
                link.from.iter().chain(&link.to).map(|end| end.name().to_string()).collect();
            let providers = plan.bridges.len();
            let is_whole = |ends: &BTreeSet<Endpoint>| {
                ends.iter().filter(|end| matches!(end, Endpoint::Provider(_))).count() == providers
            };
            // With many providers, they are drawn as `every provider`.
            if providers > 8 && (is_whole(&link.from) || is_whole(&link.to)) {
                assert!(texts.iter().any(|it| it.contains("every provider")), "{topology}: {texts:?}");
            } else {
                assert_eq!(named, all, "{topology}: links.{index}");
            }
        }
    }
}

#[test]
fn the_pictures_name_links_alike_and_show_the_internet_this_mac_and_localhost() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        let kernel = KernelNames::new();
        let [text, svg, mermaid] = [
            text(&plan, &kernel, &[]),
            svg(&plan, &kernel, &[]).expect("a picture"),
            mermaid(&plan, &kernel, &[]),
        ];
        for link in &plan.links {
            let name = format!("links.{}", link.index);
            let words = plan.describe(link);
            let ends =
                |ends: &BTreeSet<Endpoint>| ends.iter().map(|end| end.name().to_string()).collect::<Vec<_>>();
            let declared = &input["links"][link.index];
            let sorted = |value: &Value| {
                let mut all: Vec<String> = serde_json::from_value(value.clone()).expect("names");
                all.sort();
                all
            };
            let mut all = ends(&link.from);
            all.sort();
            assert_eq!(all, sorted(&declared["from"]), "{topology}: {name} is as declared");
            assert!(text.contains(&name), "{topology}: {name}");
            assert!(
                svg.contains(&format!("{name}: {}", words.replace("->", "-&gt;"))),
                "{topology}: {words}"
            );
            assert!(mermaid.contains(&format!("\"{name}<br/>{}", link.service())), "{topology}: {name}");
        }
        for picture in [&text, &svg, &mermaid] {
            for word in ["internet", "this Mac", "localhost", "opens to no volume", "opens to every volume"] {
                assert!(picture.contains(word), "{topology}: {word}");
            }
        }
    }
}

#[test]
fn fifty_providers_fit_a_wide_screen() {
    let mut input = providers(50);
    input["links"] = json!([{ "from": names(50), "to": names(50) }]);
    let picture = svg(&plan(&input), &KernelNames::new(), &[]).expect("a picture");
    let document = Document::parse(&picture).expect("XML");
    let size = |name| number(document.root_element().attribute(name));
    assert!(size("width") <= 1600.0 && size("height") <= 900.0, "{} by {}", size("width"), size("height"));
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
        [
            svg(&plan, &kernel, &[]).expect("a picture"),
            text(&plan, &kernel, &[]),
            mermaid(&plan, &kernel, &[]),
        ]
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
    let picture = svg(&plan(&input), &KernelNames::new(), &[]).expect("a picture");
    let document = Document::parse(&picture).expect("XML");
    assert_eq!(elements(&document, "script").count(), 0);
    let note = format!("db of gcp, served by this Mac, only while {path} is mounted");
    assert!(elements(&document, "title").any(|node| node.text() == Some(&note)));
}

#[test]
fn the_svg_is_self_contained() {
    for (topology, input) in drawn() {
        let picture = svg(&plan(&input), &KernelNames::new(), &[]).expect("a picture");
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
fn mermaid_declares_every_node_once_and_joins_only_declared_ones() {
    for (topology, input) in drawn() {
        let plan = plan(&input);
        let picture = mermaid(&plan, &KernelNames::new(), &[]);
        let mut nodes = BTreeSet::new();
        for line in picture.lines().skip(1).map(str::trim) {
            if let Some((node, _)) = line.split_once(['[', '{']) {
                let node = node.trim_start_matches("subgraph ").trim_end_matches('(');
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
            |link: &nixvol_net::model::Link| link.from.iter().chain(&link.to).collect::<BTreeSet<_>>().len();
        assert_eq!(arrows.len(), plan.links.iter().map(taps).sum::<usize>(), "{topology}");
        // Mermaid draws nodes over all but the first line of a subgraph's title.
        let titles = picture.lines().filter(|line| line.contains("subgraph "));
        assert!(titles.clone().count() > plan.bridges.len());
        titles.for_each(|title| assert!(!title.contains("<br/>"), "{title}"));
    }
}

#[test]
fn a_link_shows_conditions_that_all_its_packets_have() {
    let legend = |links: &Value| {
        let mut input = fixture("ways.json");
        input["links"] = links.clone();
        let plan = plan(&input);
        let words = text(&plan, &KernelNames::new(), &[]);
        let (_, words) = words.split_once("\nBetween providers:\n").expect("a legend");
        let words = words.split("\n\n").next().expect("a part").trim_end().to_owned();
        // The other two pictures show the same.
        let (svg, mermaid) =
            (svg(&plan, &KernelNames::new(), &[]).expect("svg"), mermaid(&plan, &KernelNames::new(), &[]));
        for line in words.lines().filter(|line| line.contains(" ms")) {
            let (name, says) = line.trim().split_once("  ").expect("a name");
            assert!(svg.contains(&format!("{name}: {}", says.replace("->", "-&gt;"))), "{says}");
            let says: Vec<&str> = says.split(", ").skip(1).collect();
            let node = format!("{name}<br/>{}<br/>{}", says[0], says[1..].join(", "));
            assert!(mermaid.contains(&node), "{node}: {mermaid}");
        }
        words
    };
    let slow = json!({ "latencyMs": 40, "loss": 0.01 });
    let tcp = |to: &str, port: u16, conditions: &Value| json!({ "from": ["aws"], "to": [to], "protocol": "tcp", "ports": [port], "conditions": conditions });
    assert_eq!(
        legend(&json!([tcp("azure", 2379, &slow), tcp("gcp", 22, &Value::Null)])),
        "  links.0  aws -> azure, tcp 2379, 40 ms, 1% lost\n  links.1  aws -> gcp, tcp 22"
    );
    // Conditions depend on the endpoints alone, not on ports: another link between them shows the same.
    assert_eq!(
        legend(&json!([tcp("azure", 2379, &slow), tcp("etcd-2", 22, &Value::Null)])),
        "  links.0  aws -> azure, tcp 2379, 40 ms, 1% lost\n  links.1  aws -> etcd-2, tcp 22, 40 ms, 1% lost"
    );
    // Only some packets of the first link have the conditions, so it does not show them.
    assert_eq!(
        legend(&json!([tcp("azure", 22, &Value::Null), tcp("etcd-2", 2379, &slow)])),
        "  links.0  aws -> azure, tcp 22\n  links.1  aws -> etcd-2, tcp 2379, 40 ms, 1% lost"
    );
    // The conditions apply to one of several paths of the link.
    let several = json!([{ "from": ["aws"], "to": ["azure", "gcp"] }, tcp("gcp", 22, &slow)]);
    assert!(
        legend(&several).starts_with("  links.0  aws -> azure, gcp, any protocol\n"),
        "{}",
        legend(&several)
    );
}

#[test]
fn graph_prints_what_the_bundle_holds() {
    let bundle = crate::support::rendered(&fixture("rich.json"));
    // The bundle numbers links by their place in its own declaration, regardless of the order of the input.
    let network: Value = serde_json::from_str(&bundle.files["network.json"].text).expect("JSON");
    let input = network.to_string();
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

/// Twelve providers, with two links from each to each other one.
fn crowded() -> Value {
    let mut input = crate::support::providers(12);
    let names = crate::support::names(12);
    let pairs = names.iter().flat_map(|from| names.iter().map(move |to| (from, to)));
    let links = pairs.filter(|(from, to)| from != to).flat_map(|(from, to)| {
        [443, 8443].map(|port| json!({ "from": [from], "to": [to], "protocol": "tcp", "ports": [port] }))
    });
    input["links"] = links.collect();
    input
}

#[test]
fn links_that_have_no_room_are_counted_and_how_to_see_them_is_said() {
    let plan = plan(&crowded());
    assert_eq!(plan.links.len(), 264);
    let none = KernelNames::new();
    let how = "no room here: `nixvol-net graph --provider NAME` draws those of one.";
    let svg_of = |around: &[Name]| svg(&plan, &none, around).expect("a picture");
    let drawn = svg_of(&[]);
    assert!(drawn.contains(&format!("114 more links have {how}")), "{drawn}");
    assert_eq!(drawn.matches("data-link=").count(), 150);
    let drawn = mermaid(&plan, &none, &[]);
    assert!(drawn.contains(&format!("114 more links have {how}")), "{drawn}");
    assert_eq!(drawn.matches("{{\"links.").count(), 150);
    // All are listed below the drawing in text.
    let words = text(&plan, &none, &[]);
    let (_, rest) = words.split_once(&format!(" more links have {how}")).unwrap_or_else(|| panic!("{words}"));
    assert_eq!(rest, "\n");
    assert_eq!(words.matches("\n  links.").count(), 264);
    // Those of one have room, and nobody else is there.
    let one = [plan.bridges[0].provider.clone()];
    let only = format!("Only links of {} are drawn: 44 of 264.", one[0]);
    let drawn = svg_of(&one);
    assert!(drawn.contains(&only) && !drawn.contains("no room"), "{drawn}");
    assert_eq!(drawn.matches("data-link=").count(), 44);
    let drawn = mermaid(&plan, &none, &one);
    assert!(drawn.contains(&only) && !drawn.contains("no room"), "{drawn}");
    assert_eq!(drawn.matches("{{\"links.").count(), 44);
    let words = text(&plan, &none, &one);
    assert!(words.contains(&only) && words.matches("\n  links.").count() == 44, "{words}");
}

/// Mermaid refuses more than five hundred lines, and a link has one to each of its ends.
#[test]
fn mermaid_gets_no_more_lines_than_it_draws() {
    let mut input = crate::support::providers(30);
    let names = crate::support::names(30);
    input["links"] =
        (0..30).map(|n| json!({ "from": names, "to": names, "protocol": "tcp", "ports": [n + 1] })).collect();
    let plan = plan(&input);
    let drawn = mermaid(&plan, &KernelNames::new(), &[]);
    let lines = drawn.matches("-->").count();
    assert!((400..500).contains(&lines), "{lines}");
    assert!(drawn.contains("14 more links have no room here"), "{drawn}");
}

#[test]
fn a_part_of_the_picture_is_what_is_around_some_providers() {
    let restricted = ["graph", "--input", "tests/fixtures/restricted.json"];
    let graph = |more: &[&str]| {
        let output = crate::support::program()
            .args(restricted)
            .args(more)
            .current_dir(crate::support::root())
            .output();
        output.expect("the program runs")
    };
    let words = |more: &[&str]| String::from_utf8(graph(more).stdout).expect("text");
    let aws = words(&["--provider", "aws"]);
    assert!(
        aws.contains("bridge-aws") && aws.contains("bridge-azure") && !aws.contains("bridge-gcp"),
        "{aws}"
    );
    assert!(aws.contains("Only links of aws are drawn: 1 of 1."), "{aws}");
    let gcp = words(&["--provider", "gcp"]);
    assert!(gcp.contains("bridge-gcp") && !gcp.contains("bridge-aws"), "{gcp}");
    let data: Value = serde_json::from_str(&words(&["--provider", "gcp", "--format", "json"])).expect("JSON");
    assert_eq!((&data["links"], &data["volumes"][0]["name"]), (&json!([]), &json!("etcd-3")));
    assert_eq!(words(&["--provider", "aws,azure,gcp", "--format", "json"]), words(&["--format", "json"]));
    let wrong = graph(&["--provider", "azur"]);
    assert_eq!(wrong.status.code(), Some(2));
    let error = String::from_utf8(wrong.stderr).expect("text");
    assert_eq!(error, "error: there is no provider `azur`\nhint: did you mean `azure`?\n");
}
