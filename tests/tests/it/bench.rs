//! That `./dev bench` measures what it says. How much it is depends on the machine, and is no matter of this test.

use lab::bench::{Extent, run};

#[tokio::test]
async fn the_shortest_bench_gives_every_figure() -> anyhow::Result<()> {
    let figures = run(&Extent::shortest(), |what| println!("{what}")).await?;
    for name in ["deploy_ratio", "commit_to_write_ms", "converge_ratio", "stack_ratio", "noop_ratio", "idle_cpu", "rss_mb", "drift_ms"] {
        let figure = figures.iter().find(|figure| figure.name == name);
        let figure = figure.ok_or_else(|| anyhow::anyhow!("no {name} in {figures:?}"))?;
        assert!(figure.runs > 0 && figure.limit.is_some(), "{figure:?}");
        assert!(figure.min <= figure.median && figure.median <= figure.max, "{figure:?}");
        // A processor that is idle uses none; everything else takes time or room.
        assert!(figure.median > 0.0 || name == "idle_cpu", "{figure:?}");
    }
    Ok(())
}
