//! Properties of every plan, over random changes of scale, image, processes and rollout policy.

use api_types::kinds::app::VerdictPhase;
use proptest::prelude::*;
use serde_json::json;

use super::fixtures::{World, lines, process, spec};
use crate::kinds::app::model::Model;
use crate::kinds::app::plan::{Next, Step, next, plan};

#[derive(Debug, Clone)]
struct Change {
    before: u32,
    after: u32,
    parallelism: u32,
    new_image: bool,
    stop_first: bool,
    worker: (bool, bool),
}

fn change() -> impl Strategy<Value = Change> {
    (0u32..12, 0u32..12, 1u32..5, any::<bool>(), any::<bool>(), any::<(bool, bool)>()).prop_map(
        |(before, after, parallelism, new_image, stop_first, worker)| Change { before, after, parallelism, new_image, stop_first, worker },
    )
}

impl Change {
    fn world(&self) -> World {
        let app = |image: &str, replicas: u32, worker: bool| {
            let mut processes = json!({"web": {"port": 8080, "replicas": replicas}});
            if worker {
                processes["worker"] = json!({"replicas": 2});
            }
            let order = if self.stop_first { "stop-first" } else { "start-first" };
            spec(json!({"image": image, "processes": processes, "rollout": {"order": order, "parallelism": self.parallelism}}))
        };
        let image = if self.new_image { "acme/shop:2" } else { "acme/shop:1" };
        World::of(app("acme/shop:1", self.before, self.worker.0)).resolved().running().then(app(image, self.after, self.worker.1))
    }
}

/// Total wanted and ready tasks of `web` in the model.
fn web(model: &Model) -> (u32, u32) {
    let services = model.services.iter().filter(|((name, _), _)| *name == process("web"));
    services.fold((0, 0), |(replicas, ready), (_, service)| (replicas + service.replicas, ready + service.ready))
}

proptest! {
    #[test]
    fn every_change_converges_and_taking_the_steps_one_by_one_is_the_plan(change in change()) {
        let world = change.world();
        let desired = world.desired();
        let mut model = world.model();
        let planned = plan(&desired, &model);
        let mut taken = Vec::new();
        for _ in 0..1_000 {
            match next(&desired, &model) {
                Next::Act(step) => {
                    model.take(&desired, &step);
                    taken.push(step);
                }
                Next::Wait(gate) => prop_assert!(model.assume(&gate), "stuck at [{gate}] after\n{}", lines(&planned)),
                Next::Done => break,
            }
        }
        prop_assert_eq!(next(&desired, &model), Next::Done);
        let steps: Vec<Step> = planned.steps.into_iter().map(|planned| planned.step).collect();
        prop_assert_eq!(taken, steps);
        prop_assert_eq!(web(&model), (change.after, change.after));
    }

    #[test]
    fn a_start_first_rollout_never_has_too_few_ready_or_too_many_tasks(change in change()) {
        prop_assume!(!change.stop_first);
        let world = change.world();
        let desired = world.desired();
        let mut model = world.model();
        let least = change.before.min(change.after);
        let most = change.before.max(change.after) + change.parallelism;
        for _ in 0..1_000 {
            match next(&desired, &model) {
                Next::Act(step) => model.take(&desired, &step),
                Next::Wait(gate) => { model.assume(&gate); }
                Next::Done => break,
            }
            let (replicas, ready) = web(&model);
            prop_assert!(ready >= least, "{ready} ready, {least} wanted");
            prop_assert!(replicas <= most, "{replicas} tasks, {most} allowed");
        }
    }

    #[test]
    fn a_deletion_ends_with_the_row_and_removes_everything(change in change(), ready_verdict in any::<bool>()) {
        let mut world = change.world();
        if ready_verdict {
            world = world.verdict(VerdictPhase::Ready);
        }
        let world = world.deleting();
        let planned = plan(&world.desired(), &world.model());
        prop_assert!(planned.waiting.is_none());
        prop_assert_eq!(planned.steps.last().map(|planned| &planned.step), Some(&Step::Finalize));
        let withdrawn = planned.steps.iter().position(|planned| planned.step == Step::WithdrawRoute);
        let first_removal = planned.steps.iter().position(|planned| matches!(planned.step, Step::RemoveService { .. }));
        prop_assert!(withdrawn < first_removal, "the edge goes first");
    }
}
