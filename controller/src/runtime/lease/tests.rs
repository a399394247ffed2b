use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::runtime::testing::{TokioClock, entropy};

#[derive(Debug, Default)]
struct Row {
    holder: Option<String>,
    epoch: i64,
    writes: u64,
    renewed: Option<Instant>,
}

/// The lease's row. It has no clock.
#[derive(Debug, Default)]
struct Table(Mutex<Row>);

impl Table {
    fn acquire(&self, holder: &str, dead: Option<&Mark>) -> Asked {
        let mut row = self.0.lock().unwrap();
        let mark = Mark(format!("{} {}", row.epoch, row.writes));
        let ours = row.holder.as_deref() == Some(holder);
        if !ours && row.holder.is_some() && dead != Some(&mark) {
            return Asked::Theirs(mark);
        }
        row.epoch += 1;
        row.holder = Some(holder.to_owned());
        row.writes += 1;
        row.renewed = Some(Instant::now());
        Asked::Ours { epoch: row.epoch }
    }

    fn renew(&self, holder: &str, epoch: i64) -> bool {
        let mut row = self.0.lock().unwrap();
        let ours = row.holder.as_deref() == Some(holder) && row.epoch == epoch;
        if ours {
            row.writes += 1;
            row.renewed = Some(Instant::now());
        }
        ours
    }

    fn release(&self, holder: &str, epoch: i64) {
        let mut row = self.0.lock().unwrap();
        if row.holder.as_deref() == Some(holder) && row.epoch == epoch {
            row.holder = None;
        }
    }
}

/// One process's way to the table: slow, and sometimes cut before or after the table was reached.
struct Link {
    table: Arc<Table>,
    entropy: SharedEntropy,
    latency: Duration,
    cut: AtomicBool,
    hangs: AtomicBool,
}

impl Link {
    async fn half_way(&self) -> Result<(), BoxError> {
        sleep(self.latency.mul_f64(self.entropy.unit())).await;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.cut.load(Ordering::Relaxed) { Err("the store is out of reach".into()) } else { Ok(()) }
    }
}

#[async_trait]
impl LeaseStore for Link {
    async fn acquire(&self, options: &ElectorOptions, dead: Option<&Mark>) -> Result<Asked, BoxError> {
        self.half_way().await?;
        let answer = self.table.acquire(&options.holder, dead);
        self.half_way().await.map(|()| answer)
    }
    async fn renew(&self, _: &str, holder: &str, epoch: i64, _: Duration) -> Result<bool, BoxError> {
        self.half_way().await?;
        let answer = self.table.renew(holder, epoch);
        self.half_way().await.map(|()| answer)
    }
    async fn release(&self, _: &str, holder: &str, epoch: i64) -> Result<(), BoxError> {
        self.half_way().await?;
        self.table.release(holder, epoch);
        self.half_way().await
    }
}

struct Process {
    link: Arc<Link>,
    leadership: watch::Receiver<Leadership>,
    leash: Leash,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    fn start(table: &Arc<Table>, holder: &str, seed: u64, latency: Duration, rate: f64) -> Self {
        let (cut, hangs) = (AtomicBool::new(false), AtomicBool::new(false));
        let link = Arc::new(Link { table: table.clone(), entropy: entropy(seed), latency, cut, hangs });
        let options = ElectorOptions { name: "controller".into(), holder: holder.into(), place: String::new(), ttl: DEFAULT_TTL };
        let clock = TokioClock::at_rate(rate);
        let leash = Leash::new(clock.clone());
        let (elector, leadership) = elector(link.clone(), options, clock, entropy(seed + 1), Gauge::default(), leash.clone());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(elector.run(shutdown.clone()));
        Self { link, leadership, leash, shutdown, task }
    }

    fn plain(table: &Arc<Table>, holder: &str, seed: u64) -> Self {
        Self::start(table, holder, seed, Duration::from_millis(4), 1.0)
    }

    fn epoch(&self) -> Option<i64> {
        match *self.leadership.borrow() {
            // What may act on the engine is no more than what leads.
            Leadership::Leading { epoch } if !self.task.is_finished() => Some(epoch),
            _ => {
                assert!(self.task.is_finished() || !self.leash.holds(), "it may act and does not lead");
                None
            }
        }
    }

    async fn until_leading(&self, limit: Duration) -> Duration {
        let start = Instant::now();
        while self.epoch().is_none() {
            assert!(start.elapsed() <= limit, "nobody leads after {limit:?}");
            sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_within_five_seconds_with_a_higher_epoch() {
    for seed in 0..20 {
        let table = Arc::new(Table::default());
        let first = Process::plain(&table, "first", seed);
        first.until_leading(Duration::from_secs(1)).await;
        assert_eq!(first.epoch(), Some(1));
        let second = Process::plain(&table, "second", seed + 100);
        sleep(Duration::from_millis(10_000 + 137 * seed)).await;
        assert_eq!((first.epoch(), second.epoch()), (Some(1), None), "the leader keeps what it renews");
        first.task.abort();
        let took = second.until_leading(Duration::from_millis(3_600)).await;
        assert!(took > Duration::from_millis(1_900), "the lease had to stand still first, but it took {took:?}");
        assert_eq!(second.epoch(), Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_partitioned_leader_stands_down_before_its_lease_expires() {
    for hangs in [false, true] {
        let table = Arc::new(Table::default());
        let process = Process::plain(&table, "first", 1);
        process.until_leading(Duration::from_secs(1)).await;
        sleep(Duration::from_secs(10)).await;
        process.link.cut.store(!hangs, Ordering::Relaxed);
        process.link.hangs.store(hangs, Ordering::Relaxed);
        while process.epoch().is_some() {
            sleep(Duration::from_millis(1)).await;
        }
        let renewed = table.0.lock().unwrap().renewed.unwrap();
        let left = (renewed + DEFAULT_TTL).saturating_duration_since(Instant::now());
        assert!(left >= DEFAULT_TTL / 5, "hangs: {hangs}: only {left:?} were left to bring work to rest");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_frozen_may_not_act_from_the_moment_it_wakes() {
    let clock = Arc::new(crate::clock::ManualClock::at(chrono::DateTime::UNIX_EPOCH));
    let leash = Leash::new(clock.clone());
    assert!(!leash.holds());
    leash.extend(Duration::from_secs(2));
    assert!(leash.holds());
    // Nothing of the process runs meanwhile, so nothing could tell it.
    clock.advance(Duration::from_secs(10));
    assert!(!leash.holds());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_just_came_does_not_count_time_that_it_did_not_see() {
    let table = Arc::new(Table::default());
    let first = Process::plain(&table, "first", 1);
    first.until_leading(Duration::from_secs(1)).await;
    first.task.abort();
    sleep(DEFAULT_TTL * 10).await;
    let second = Process::plain(&table, "second", 2);
    let took = second.until_leading(DEFAULT_TTL + Duration::from_millis(100)).await;
    assert!(took >= DEFAULT_TTL, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_store_does_not_cost_the_leadership() {
    let table = Arc::new(Table::default());
    let mut process = Process::plain(&table, "first", 1);
    process.until_leading(Duration::from_secs(1)).await;
    process.leadership.mark_unchanged();
    for _ in 0..20 {
        process.link.cut.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(900)).await;
        process.link.cut.store(false, Ordering::Relaxed);
        sleep(Duration::from_millis(1700)).await;
    }
    assert!(!process.leadership.has_changed().unwrap(), "not even for a moment");
    assert_eq!((process.epoch(), table.0.lock().unwrap().epoch), (Some(1), 1));
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_the_lease_up_so_that_the_next_leads_at_once() {
    let table = Arc::new(Table::default());
    let first = Process::plain(&table, "first", 1);
    first.until_leading(Duration::from_secs(1)).await;
    let second = Process::plain(&table, "second", 2);
    sleep(Duration::from_secs(3)).await;
    first.shutdown.cancel();
    second.until_leading(Duration::from_millis(700)).await;
    assert!(first.task.await.is_ok());
    assert_eq!(*first.leadership.borrow(), Leadership::Standby);
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_was_taken_away_stands_down_at_the_next_renewal() {
    let table = Arc::new(Table::default());
    let process = Process::plain(&table, "first", 1);
    process.until_leading(Duration::from_secs(1)).await;
    {
        let mut row = table.0.lock().unwrap();
        row.holder = Some("an operator".into());
        row.epoch += 1;
    }
    sleep(DEFAULT_TTL / 3 + Duration::from_millis(50)).await;
    assert_eq!(process.epoch(), None);
}

#[tokio::test(start_paused = true)]
async fn there_are_never_two_leaders_whatever_fails_in_whatever_order() {
    for seed in 0..12 {
        let chance = entropy(1000 + seed);
        let table = Arc::new(Table::default());
        // Up to 500 ms each way: many renewals are answered after their deadline.
        let start = |number: u64, round: u64| {
            let rate = 0.97 + 0.03 * (number % 3) as f64;
            Process::start(&table, &format!("{number}-{round}"), seed * 1000 + round, Duration::from_millis(500 * (seed % 3) / 2 + 5), rate)
        };
        let mut processes: Vec<Process> = (0..3).map(|number| start(number, number)).collect();
        let (mut highest, mut led) = (0, 0u32);
        for step in 0..20_000u64 {
            sleep(Duration::from_millis(10)).await;
            let leaders: Vec<i64> = processes.iter().filter_map(Process::epoch).collect();
            assert!(leaders.len() <= 1, "seed {seed}, step {step}: epochs {leaders:?} at once");
            for epoch in leaders {
                assert!(epoch >= highest, "seed {seed}, step {step}: epoch {epoch} after {highest}");
                highest = epoch;
                led += 1;
            }
            if chance.unit() > 0.006 {
                continue;
            }
            let which = (chance.unit() * 3.0) as usize;
            match (chance.unit() * 4.0) as u32 {
                0 => processes[which].link.cut.store(chance.unit() < 0.5, Ordering::Relaxed),
                1 => processes[which].link.hangs.store(chance.unit() < 0.4, Ordering::Relaxed),
                2 => processes[which].shutdown.cancel(),
                _ => processes[which].task.abort(),
            }
            let gone = processes[which].task.is_finished() || processes[which].shutdown.is_cancelled();
            if gone && chance.unit() < 0.8 {
                processes[which] = start(which as u64, 10 + step);
            }
        }
        assert!(highest > 3 && led > 1000, "seed {seed}: {highest} epochs, led {led} of 20,000: the test proved nothing");
    }
}
