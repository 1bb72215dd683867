//! The data in which the page's script looks up answers.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::EGRESS;
use crate::explain::every::{Every, Piped, Said, Scene, Story};
use crate::plan::Plan;

/// Names and addresses by class, and every answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Data<'a> {
    egress: &'static str,
    volumes: Vec<Volume<'a>>,
    providers: Vec<Provider<'a>>,
    loopback: usize,
    mac: usize,
    own: (usize, Ipv4Addr),
    outside: usize,
    internet: Ipv4Addr,
    lan: Ipv4Addr,
    /// By class: the logical name of the bridge behind which it lives.
    bridges: Vec<Option<&'a str>>,
    /// By class: the number of its row.
    row_of: Vec<usize>,
    /// Rows of cells: `CELL` or `CELL*TIMES`, with commas between.
    rows: Vec<String>,
    /// By class: the cell of an end that talks to itself.
    selves: &'a [u32],
    /// Answers: protocol, first and last port, number of the story.
    cells: Vec<Vec<(u8, u16, u16, u32)>>,
    /// Every text once.
    words: Vec<&'a str>,
    /// Values of the declaration: path, what it says, place.
    said: Vec<(&'a str, &'a str, Option<&'a str>)>,
    /// Places of stories, each once.
    scenes: Vec<Placed<'a>>,
    stories: Vec<Told>,
}

/// A story: whether it passes, whether the question is wrong, verdict and refusal by their texts, packet and answer, and
/// the milliseconds that pipes add there and back.
#[derive(Serialize)]
struct Told(
    bool,
    bool,
    usize,
    Option<usize>,
    Vec<usize>,
    Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")] Option<(u32, u32)>,
);

/// A pipe: number, line of the rule, and what is declared.
type Through = (u16, Option<u32>, Option<usize>);

/// A place: direction, interface, whether it passes there, how it is answered, whether a state decides, the lines of the
/// rule and of the translation, what it becomes, why, what is declared and nearly covers it, and the pipes.
#[derive(Serialize, Clone, PartialEq, Eq, Hash)]
struct Placed<'a>(
    &'a str,
    &'a str,
    bool,
    Option<&'a str>,
    bool,
    Option<u32>,
    Option<u32>,
    Option<usize>,
    Option<usize>,
    Vec<usize>,
    Vec<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")] Vec<Through>,
);

/// Things by number, each once.
struct Pool<T> {
    all: Vec<T>,
    known: HashMap<T, usize>,
}

impl<T: Clone + Eq + Hash> Pool<T> {
    fn new() -> Self {
        Self { all: Vec::new(), known: HashMap::new() }
    }

    fn number(&mut self, thing: T) -> usize {
        let next = self.all.len();
        *self.known.entry(thing).or_insert_with_key(|thing| {
            self.all.push(thing.clone());
            next
        })
    }
}

/// Stories, and the pools that they are told from.
struct Pooled<'a> {
    words: Pool<&'a str>,
    said: Pool<(&'a str, &'a str, Option<&'a str>)>,
    scenes: Pool<Placed<'a>>,
}

impl<'a> Pooled<'a> {
    fn story(&mut self, story: &'a Story) -> Told {
        let verdict = self.words.number(&story.verdict);
        let refused = story.refused.as_deref().map(|words| self.words.number(words));
        let [packet, answer] =
            [&story.packet, &story.answer].map(|all| all.iter().map(|scene| self.scene(scene)).collect());
        Told(story.passes, story.wrong, verdict, refused, packet, answer, story.added)
    }

    fn scene(&mut self, scene: &'a Scene) -> usize {
        let becomes = scene.becomes.as_deref().map(|words| self.words.number(words));
        let because = scene.because.as_deref().map(|words| self.words.number(words));
        let mut said = |it: &'a Said| self.said.number((&it.path, &it.says, it.place.as_deref()));
        let [declared, near] = [&scene.declared, &scene.near].map(|all| all.iter().map(&mut said).collect());
        let through = |pipe: &'a Piped| (pipe.number, pipe.line, pipe.declared.as_ref().map(&mut said));
        let pipes = scene.pipes.iter().map(through).collect();
        self.scenes.number(Placed(
            scene.direction,
            &scene.interface,
            scene.passes,
            scene.answered,
            scene.by_state,
            scene.line,
            scene.translation,
            becomes,
            because,
            declared,
            near,
            pipes,
        ))
    }
}

/// A volume: name, provider, address, class, alias, class of the alias.
#[derive(Serialize)]
struct Volume<'a>(&'a str, &'a str, Ipv4Addr, usize, Option<Ipv4Addr>, Option<usize>);

/// A provider: name, first and last address, class and address of someone who is not a volume, gateway and its class.
#[derive(Serialize)]
struct Provider<'a>(&'a str, Ipv4Addr, Ipv4Addr, Option<usize>, Option<Ipv4Addr>, Ipv4Addr, usize);

impl<'a> Data<'a> {
    /// The data of every answer.
    pub fn of(plan: &'a Plan, every: &'a Every) -> Self {
        let volumes =
            plan.volumes.iter().zip(&every.volumes).zip(&every.aliases).map(|((volume, class), alias)| {
                Volume(
                    volume.name.as_str(),
                    volume.provider.as_str(),
                    volume.address,
                    *class,
                    volume.alias,
                    *alias,
                )
            });
        let providers = plan.bridges.iter().zip(&every.strangers).zip(&every.gateways).map(
            |((bridge, stranger), gateway)| {
                let (first, last) = (bridge.network.network(), bridge.network.broadcast());
                let (class, address) = stranger.unzip();
                Provider(
                    bridge.provider.as_str(),
                    first,
                    last,
                    class,
                    address,
                    bridge.gateway.addr(),
                    *gateway,
                )
            },
        );
        let (row_of, rows) = rows(&every.rows);
        let mut pooled = Pooled { words: Pool::new(), said: Pool::new(), scenes: Pool::new() };
        let stories = every.stories.iter().map(|story| pooled.story(story)).collect();
        let [internet, lan] = every.examples;
        Self {
            egress: EGRESS,
            volumes: volumes.collect(),
            providers: providers.collect(),
            loopback: every.loopback,
            mac: every.mac,
            own: every.own,
            outside: every.outside,
            internet,
            lan,
            bridges: every
                .bridges
                .iter()
                .map(|bridge| bridge.map(|it| plan.bridges[it].logical.as_str()))
                .collect(),
            row_of,
            rows,
            selves: &every.selves,
            cells: every
                .cells
                .iter()
                .map(|cell| cell.iter().map(|it| (it.protocol, it.first, it.last, it.story)).collect())
                .collect(),
            words: pooled.words.all,
            said: pooled.said.all,
            scenes: pooled.scenes.all,
            stories,
        }
    }
}

/// Every row once, with runs of one cell counted.
fn rows(all: &[Vec<u32>]) -> (Vec<usize>, Vec<String>) {
    let mut known: HashMap<&[u32], usize> = HashMap::new();
    let mut rows: Vec<String> = Vec::new();
    let mut row_of = Vec::with_capacity(all.len());
    for row in all {
        let number = *known.entry(row).or_insert(rows.len());
        if number == rows.len() {
            rows.push(counted(row));
        }
        row_of.push(number);
    }
    (row_of, rows)
}

fn counted(row: &[u32]) -> String {
    let runs = row.chunk_by(|a, b| a == b).map(|run| match run {
        [one] => one.to_string(),
        several => format!("{}*{}", several[0], several.len()),
    });
    runs.collect::<Vec<_>>().join(",")
}
