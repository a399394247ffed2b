//! Every act of the core flows, broken in every way.
//!
//! A flow is run once as it should go: that is the reference, and its acts are numbered. Then it is run again for each act and
//! each fault, and has to end as the reference did, with the same creates and removes.
//! `SKYSWARM_SIM=update:lost_reply:7` runs one alone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use skyswarm::edge::route_key;
use skyswarm::effects::{Fault, Kind};

use crate::oracles::{Foreign, Summary, at_rest, digest};
use crate::specs::{app, key};
use crate::world::{World, simulate};

/// A flow: what is there before, and what is done then.
#[derive(Clone, Copy)]
struct Flow {
    name: &'static str,
    before: fn(&World),
    edit: fn(&World),
    /// Whether requests have to be answered all the time, by how many tasks.
    least: Option<usize>,
}

const SHOP: &str = "shop";

fn nothing(_: &World) {}

fn first(world: &World) {
    world.apply(&key(SHOP), &app("acme/good:1", json!({})));
}

fn changed(world: &World, image: &str) {
    world.apply(&key(SHOP), &app(image, json!({"secrets": {"TOKEN": "two"}})));
}

const DEPLOY: Flow = Flow { name: "deploy", before: nothing, edit: first, least: None };
const UPDATE: Flow = Flow { name: "update", before: first, edit: |world| changed(world, "acme/good:2"), least: Some(2) };
const FAILURE: Flow = Flow { name: "failure", before: first, edit: |world| changed(world, "acme/crash:1"), least: Some(2) };
const DOMAIN: Flow = Flow {
    name: "domain",
    before: first,
    edit: |world| world.apply(&key(SHOP), &app("acme/good:1", json!({"domains": ["shop.example"]}))),
    least: Some(2),
};
const DELETE: Flow = Flow { name: "delete", before: first, edit: |world| world.shared.rows.delete(&key(SHOP)), least: None };

/// What a run left.
struct Run {
    summary: Summary,
    digest: BTreeMap<(&'static str, String), usize>,
    trace: Vec<Kind>,
}

/// Runs a flow, with a fault at one of its acts.
async fn run(flow: Flow, fault: Option<(Fault, u64)>) -> Result<Run, String> {
    let mut world = World::new(7);
    let foreign = Foreign::plant(&world).await;
    // The proxy has taken its first document.
    world.pass(Duration::from_secs(4)).await;
    (flow.before)(&world);
    world.rest().await?;
    let begun = world.history().len();
    world.shared.faults.begin(Box::new(move |number, _| fault.filter(|(_, at)| *at == number).map(|(fault, _)| fault)));
    world.watch.least = flow.least.and_then(|least| {
        let record = world.shared.rows.record(&key(SHOP))?;
        Some((route_key(record.uid, &record.org, &record.name), record.uid.to_string(), least))
    });
    (flow.edit)(&world);
    world.rest().await?;
    let trace = world.shared.faults.trace();
    at_rest(&world)?;
    foreign.unchanged(&world)?;
    if let Some(wrong) = world.watch.wrong {
        return Err(wrong);
    }
    if world.watch.too_few > 0 {
        return Err(format!("oracle 7: fewer tasks answered than had to, in {} steps", world.watch.too_few));
    }
    Ok(Run { summary: Summary::of(&world), digest: digest(&world.history()[begun..]), trace })
}

fn compare(reference: &Run, run: &Run) -> Result<(), String> {
    if reference.summary != run.summary {
        return Err(format!("oracle 1: the end is another one: {:#?}\ninstead of {:#?}", run.summary, reference.summary));
    }
    if reference.digest != run.digest {
        return Err(format!("oracle 2: other creates and removes: {:#?}\ninstead of {:#?}", run.digest, reference.digest));
    }
    Ok(())
}

/// What `SKYSWARM_SIM` asks for, of this flow.
fn alone(flow: Flow) -> Option<Option<(Fault, u64)>> {
    let asked = std::env::var("SKYSWARM_SIM").ok()?;
    let mut parts = asked.split(':');
    if parts.next() != Some(flow.name) {
        return Some(None);
    }
    let fault = parts.next().and_then(|word| Fault::ALL.into_iter().find(|fault| fault.word() == word)).expect("FLOW:FAULT:NUMBER");
    Some(Some((fault, parts.next().and_then(|number| number.parse().ok()).expect("FLOW:FAULT:NUMBER"))))
}

/// Breaks every act of a flow in every way.
fn every_act(flow: Flow) {
    let reference = simulate(run(flow, None)).unwrap_or_else(|why| panic!("{} without a fault: {why}", flow.name));
    let again = simulate(run(flow, None)).unwrap_or_else(|why| panic!("{} once more: {why}", flow.name));
    compare(&reference, &again).unwrap_or_else(|why| panic!("{} is not the same twice: {why}", flow.name));
    assert_eq!(reference.trace, again.trace, "{} is not the same twice", flow.name);
    assert!(reference.trace.iter().any(|kind| kind.is_engine() || *kind == Kind::RoutePut), "{:?}", reference.trace);
    let only = alone(flow);
    let acts = u64::try_from(reference.trace.len()).expect("few");
    let mut broken = Vec::new();
    let mut runs = 0;
    for number in 1..=acts {
        for fault in Fault::ALL {
            if only.is_some_and(|only| only != Some((fault, number))) {
                continue;
            }
            runs += 1;
            if let Err(why) = simulate(run(flow, Some((fault, number)))).and_then(|run| compare(&reference, &run)) {
                let kind = reference.trace[usize::try_from(number).expect("small") - 1];
                broken.push(format!("SKYSWARM_SIM={}:{fault}:{number} ({kind}): {why}", flow.name));
            }
        }
    }
    let shown: Vec<&String> = broken.iter().take(10).collect();
    assert!(broken.is_empty(), "{} of {runs} runs of {} failed, such as {shown:#?}", broken.len(), flow.name);
    assert!(runs > 0 || only.is_some(), "nothing was run");
}

#[test]
fn a_deploy_survives_every_fault_at_every_act() {
    every_act(DEPLOY);
}

#[test]
fn an_update_survives_every_fault_at_every_act() {
    every_act(UPDATE);
}

#[test]
fn a_failed_update_and_its_way_back_survive_every_fault_at_every_act() {
    every_act(FAILURE);
}

#[test]
fn a_domain_survives_every_fault_at_every_act() {
    every_act(DOMAIN);
}

#[test]
fn a_delete_survives_every_fault_at_every_act() {
    every_act(DELETE);
}
