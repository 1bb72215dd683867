//! The conditions of a path: what a link declares, and what follows for the path between two endpoints.

use std::fmt;

use serde::Serialize;

use super::regions::RegionPair;

/// The maximum latency in milliseconds.
pub(crate) const MOST_LATENCY: u16 = 10_000;
/// The maximum bandwidth in kilobits per second: dnctl stores bits per second in 31 bits.
pub(crate) const MOST_BANDWIDTH: u32 = 2_147_483;

/// The conditions that a link declares for the path between its endpoints. At least one field is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkConditions {
    /// The added delay.
    pub latency: Option<Latency>,
    /// The maximum random addition to the delay, in milliseconds, one way: 0 to 10,000. Only the lab applies it.
    pub jitter_ms: Option<u16>,
    /// The fraction of packets that are lost: 0 to 1. Dummynet takes it in millionths.
    pub loss: Option<f64>,
    /// The bandwidth in kilobits per second: 1 to 2,147,483.
    pub bandwidth_kbit: Option<u32>,
}

/// How the added delay of a path is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    /// In milliseconds, one way: 0 to 10,000.
    Ms(u16),
    /// Derived from the regions of the two providers.
    Regions,
}

impl LinkConditions {
    /// Whether the conditions differ between pairs of regions.
    pub fn goes_by_regions(&self) -> bool {
        self.latency == Some(Latency::Regions)
    }

    /// The conditions of the path between these regions.
    pub(super) fn over(&self, span: Option<RegionPair>) -> Conditions {
        let Self { latency, jitter_ms, loss, bandwidth_kbit } = *self;
        let latency_ms = match latency {
            Some(Latency::Ms(ms)) => Some(ms),
            Some(Latency::Regions) => span.map(|span| span.latency_ms()),
            None => None,
        };
        let span = span.filter(|_| latency == Some(Latency::Regions));
        Conditions { latency_ms, span, jitter_ms, loss, bandwidth_kbit }
    }
}

impl fmt::Display for LinkConditions {
    /// In words: `latency of the regions, 1% lost`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.over(None).to_string();
        match self.latency {
            Some(Latency::Regions) if rest.is_empty() => f.write_str("latency of the regions"),
            Some(Latency::Regions) => write!(f, "latency of the regions, {rest}"),
            Some(Latency::Ms(_)) | None => f.write_str(&rest),
        }
    }
}

/// The conditions of the path between two endpoints. At least one field is set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// The added delay in milliseconds, one way: 0 to 10,000.
    pub latency_ms: Option<u16>,
    /// The regions from which the delay was derived, if it was.
    #[serde(skip)]
    pub span: Option<RegionPair>,
    /// The maximum random addition to the delay, in milliseconds, one way. Only the lab applies it: dummynet has no
    /// jitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u16>,
    /// The fraction of packets that are lost: 0 to 1. Dummynet takes it in millionths.
    pub loss: Option<f64>,
    /// The bandwidth in kilobits per second: 1 to 2,147,483.
    pub bandwidth_kbit: Option<u32>,
}

impl Conditions {
    /// Conditions from untrusted values.
    ///
    /// # Errors
    /// A value out of range, or no value at all, as a message.
    pub fn checked(
        latency_ms: Option<u16>,
        loss: Option<f64>,
        bandwidth_kbit: Option<u32>,
    ) -> Result<Self, String> {
        if let Some(found) = latency_ms.filter(|ms| *ms > MOST_LATENCY) {
            return Err(format!(
                "the latency is {found} ms; it may be from 0 to {MOST_LATENCY} milliseconds"
            ));
        }
        if let Some(found) = loss.filter(|loss| !(0.0..=1.0).contains(loss)) {
            return Err(format!("the loss is {found}; it is a fraction from 0 to 1, so that 0.01 is 1 %"));
        }
        if let Some(found) = bandwidth_kbit.filter(|kbit| !(1..=MOST_BANDWIDTH).contains(kbit)) {
            return Err(format!("the bandwidth is {found} kbit/s; it may be from 1 to {MOST_BANDWIDTH}"));
        }
        if latency_ms.is_none() && loss.is_none() && bandwidth_kbit.is_none() {
            return Err("nothing is asked for: give a latency, a loss or a bandwidth".to_owned());
        }
        Ok(Self { latency_ms, span: None, jitter_ms: None, loss, bandwidth_kbit })
    }

    /// The added delay in milliseconds; 0 without one.
    pub fn delay(&self) -> u16 {
        self.latency_ms.unwrap_or(0)
    }

    /// The fraction of packets that are lost, in millionths: the unit of dummynet.
    pub fn loss_millionths(&self) -> u32 {
        // The loss is from 0 to 1, so the result fits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let millionths = (self.loss.unwrap_or(0.0) * 1e6).round() as u32;
        millionths
    }

    /// The loss in percent, such as `0.1`.
    pub fn loss_percent(&self) -> String {
        (f64::from(self.loss_millionths()) / 1e4).to_string()
    }

    /// Latency, jitter, loss and bandwidth in words: `40 ms`, `5 ms of jitter (lab only)`, `0.1%`, `100000 kbit/s`.
    pub fn words(&self) -> [Option<String>; 4] {
        let span = self.span.map_or(String::new(), |span| format!(" ({span})"));
        let latency = self.latency_ms.map(|ms| format!("{ms} ms{span}"));
        let jitter = self.jitter_ms.map(|ms| format!("{ms} ms of jitter (lab only)"));
        let loss = self.loss.map(|_| format!("{}%", self.loss_percent()));
        let bandwidth = self.bandwidth_kbit.map(|kbit| format!("{kbit} kbit/s"));
        [latency, jitter, loss, bandwidth]
    }
}

impl fmt::Display for Conditions {
    /// In words: `40 ms, 1% lost, 100000 kbit/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [latency, jitter, loss, bandwidth] = self.words();
        let loss = loss.map(|loss| loss + " lost");
        f.write_str(&[latency, jitter, loss, bandwidth].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}
