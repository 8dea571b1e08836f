//! One performance: the ring and the publishers start, the hours are replayed, two processes are killed, and what the
//! subscribers have heard is compared with the data.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ringbus::pubsub::Route;
use ringbus::transport::{BoxTransport, Locator};
use ringbus::{Session, TopicFilter};

use super::Plan;
use super::audience::{Listener, Ticket, Verdict};
use super::cast::Member;
use super::readings::City;

const NODES: usize = 4;
/// A broker that lags may still hold all readings of those who were killed: how long the news of it may take then.
const NEWS: Duration = Duration::from_secs(10);
/// How long the session may take to say goodbye.
const PATIENCE_AT_END: Duration = Duration::from_secs(2);
/// Nothing new for so long means that something is stuck.
const STANDSTILL: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(10);

/// What came of one performance.
pub(super) struct Outcome {
    pub(super) sent: u64,
    pub(super) listeners: Vec<Verdict>,
    /// From the kill of the strongest publisher until each listener heard the next.
    pub(super) takeover: Option<Duration>,
    /// From the kill of the responsible node until the ring named another, and until samples flowed through that.
    pub(super) remap: Option<(Duration, Duration)>,
    pub(super) elapsed: Duration,
}

impl Outcome {
    /// What is wrong with it, if anything.
    pub(super) fn flaw(&self) -> Option<String> {
        if let Some(bad) = self.listeners.iter().find(|listener| !listener.faultless) {
            return Some(format!(
                "the {} subscriber received {} of {} readings, {} duplicates, {} gaps",
                bad.name, bad.received, bad.expected, bad.duplicates, bad.gaps
            ));
        }
        if self.takeover.is_none() {
            return Some("no publisher took over".into());
        }
        self.remap.is_none().then(|| "no node took over".into())
    }
}

pub(super) async fn perform(plan: &Plan) -> anyhow::Result<Outcome> {
    let bar = progress_bar(plan);
    let mut nodes = start_ring(plan, &bar).await?;
    let seeds: Vec<String> = nodes.iter().map(Member::place).collect();
    let locators = seeds.iter().map(Locator::new).collect::<Result<Vec<_>, _>>()?;
    let observer =
        Session::open(plan.kind.transport(plan.broker.as_deref(), &plan.name("observer"))?).await?;
    wait_for_ring(&observer, &locators).await?;

    bar.set_message("starting publishers and subscribers");
    let mut strong = publisher(plan, "seattle-10", City::Seattle, 10, &seeds).await?;
    let mut weak = publisher(plan, "seattle-5", City::Seattle, 5, &seeds).await?;
    let mut other = publisher(plan, "san-francisco", City::SanFrancisco, 1, &seeds).await?;
    let (exact, wildcard) = listeners(plan, &observer, &locators).await?;
    let total = exact.expected()? + wildcard.expected()?;
    bar.set_length(total as u64);

    let started = Instant::now();
    for member in [&mut strong, &mut weak, &mut other] {
        member.go().await?;
    }
    let mut show = Show { bar, listeners: [&exact, &wildcard], total, moved: (0, Instant::now()) };
    let third = City::Seattle.readings()?.len() / 3;

    show.until("replaying", || [&exact, &wildcard].iter().all(|one| one.received_of(City::Seattle) >= third))
        .await?;
    let weak_id = weak.place();
    let killed = strong.kill().await?;
    let note = format!("killed {}, the strongest publisher of Seattle", strong.name());
    let took_over = || [exact.heard_from(&weak_id, killed), wildcard.heard_from(&weak_id, killed)];
    show.until(&note, || took_over().iter().all(Option::is_some)).await?;
    let takeover = took_over().into_iter().flatten().max().map(|at| at - killed);

    let caught_up = || [&exact, &wildcard].iter().all(|one| one.received_of(City::Seattle) >= 2 * third);
    show.until("the next strongest is heard", caught_up).await?;
    let victim = responsible(&observer, &locators).await?;
    let position = nodes.iter().position(|node| node.name() == victim);
    let mut node = nodes.remove(position.with_context(|| format!("{victim} is responsible but unknown"))?);
    let killed = node.kill().await?;
    let note = format!("killed {}, the node responsible for Seattle", node.name());
    show.until(&note, || exact.remapped(killed).is_some()).await?;
    let remapped = exact.remapped(killed).unwrap_or(killed);
    show.until("the ring is remapped", || exact.heard_of(City::Seattle, remapped).is_some()).await?;
    let remap = exact.heard_of(City::Seattle, remapped).map(|flows| (remapped - killed, flows - killed));

    show.until("replaying", || exact.received() + wildcard.received() >= total).await?;
    let elapsed = started.elapsed();
    // Whatever should not come, a duplicate, would come now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    show.bar.finish_and_clear();
    let outcome = Outcome {
        sent: [&strong, &weak, &other].iter().map(|member| member.sent()).sum(),
        listeners: vec![exact.verdict()?, wildcard.verdict()?],
        takeover,
        remap,
        elapsed,
    };
    // The broker inside ends behind this: an open session would warn that it is lost.
    drop((exact, wildcard));
    observer.close(PATIENCE_AT_END).await?;
    Ok(outcome)
}

impl Plan {
    fn name(&self, party: &str) -> String {
        format!("{party}-{}", self.run)
    }
}

async fn start_ring(plan: &Plan, bar: &ProgressBar) -> anyhow::Result<Vec<Member>> {
    bar.set_message("starting the ring");
    let mut nodes: Vec<Member> = Vec::new();
    for number in 1..=NODES {
        let seeds: Vec<String> = nodes.first().map(Member::place).into_iter().collect();
        let name = plan.name(&format!("node-{number}"));
        nodes.push(Member::start(plan, &name, &seeds, &["node".into()]).await?);
    }
    Ok(nodes)
}

async fn wait_for_ring(observer: &Session<BoxTransport>, nodes: &[Locator]) -> anyhow::Result<()> {
    // Each node is asked: a member that one of them does not know yet would be a wrong answer later.
    let deadline = Instant::now() + STANDSTILL;
    for node in nodes {
        let ring = observer.dht([node.clone()]);
        while ring.members().await?.len() < nodes.len() {
            if Instant::now() > deadline {
                bail!("the ring did not form within {STANDSTILL:?}");
            }
            tokio::time::sleep(TICK).await;
        }
    }
    Ok(())
}

async fn publisher(
    plan: &Plan,
    name: &str,
    city: City,
    strength: i32,
    nodes: &[String],
) -> anyhow::Result<Member> {
    let city = match city {
        City::Seattle => "seattle",
        City::SanFrancisco => "san-francisco",
    };
    let role = [
        "publisher".to_owned(),
        format!("--city={city}"),
        format!("--strength={strength}"),
        format!("--speed={}", plan.speed),
        format!("--lease={}", plan.lease.as_millis()),
    ];
    Member::start(plan, &plan.name(name), nodes, &role).await
}

/// One subscriber names its topic and gets the samples through the responsible node; the other takes whatever weather
/// there is, straight from the publishers.
async fn listeners(
    plan: &Plan,
    observer: &Session<BoxTransport>,
    nodes: &[Locator],
) -> anyhow::Result<(Listener, Listener)> {
    let second = Session::open(plan.kind.transport(plan.broker.as_deref(), &plan.name("wildcard"))?).await?;
    let exact = Ticket {
        name: "exact",
        filter: City::Seattle.topic(),
        route: Route::ViaNode,
        cities: vec![City::Seattle],
        publishers: 2,
    };
    let wildcard = Ticket {
        name: "wildcard",
        filter: "weather/+",
        route: Route::Direct,
        cities: vec![City::Seattle, City::SanFrancisco],
        publishers: 3,
    };
    let exact = Listener::subscribe(observer, exact, nodes).await?;
    let wildcard = Listener::subscribe(&second, wildcard, nodes).await?;
    Ok((exact, wildcard))
}

async fn responsible(observer: &Session<BoxTransport>, nodes: &[Locator]) -> anyhow::Result<String> {
    let topic = TopicFilter::new(City::Seattle.topic())?;
    let offers = observer.dht(nodes.to_vec()).lookup(&topic, None).await?;
    let offer = offers.found.first().context("the ring knows no publisher of Seattle")?;
    Ok(offer.responsible.name.to_string())
}

/// The progress bar, and the watch over a standstill.
struct Show<'a> {
    bar: ProgressBar,
    listeners: [&'a Listener; 2],
    total: usize,
    moved: (usize, Instant),
}

impl Show<'_> {
    async fn until(&mut self, note: &str, done: impl Fn() -> bool) -> anyhow::Result<()> {
        self.bar.set_message(note.to_owned());
        while !done() {
            let received = self.listeners.iter().map(|listener| listener.received()).sum();
            self.bar.set_position(received as u64);
            if received > self.moved.0 {
                self.moved = (received, Instant::now());
            } else if self.moved.1.elapsed() > if received >= self.total { NEWS } else { STANDSTILL } {
                // The tables will say what is missing.
                self.bar.println(format!("stopped waiting: {note}, {received} of {} readings", self.total));
                return Ok(());
            }
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }
}

fn progress_bar(plan: &Plan) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len} {msg}");
    let bar = ProgressBar::new(1).with_prefix(plan.kind.name());
    style.map(|style| bar.clone().with_style(style.progress_chars("=> "))).unwrap_or(bar)
}
