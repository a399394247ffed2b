//! Level 2 of the fault tests: a real engine, a real database, and a controller that dies, loses an answer or gets an error at one of
//! its acts. What has to hold afterwards, and all the time, is in `lab::faults`.

use anyhow::{Result, ensure};
use lab::faults::{Campaign, MODES};

/// Points of the sample, for each mode as many.
const SAMPLE: u64 = 8;

/// Case 1 and case 2 of the faults that the platform is proven against, on real parts: a sample, spread over all acts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_1_and_2_a_fault_at_any_act_of_any_flow_changes_nothing_of_the_end() -> Result<()> {
    let mut campaign = Campaign::start().await?;
    let acts = campaign.acts;
    ensure!(acts >= 40, "too few acts to say anything: {acts}");
    for point in 0..SAMPLE {
        let ordinal = 1 + point * acts / SAMPLE;
        let mode = MODES[usize::try_from(point)? % MODES.len()];
        campaign.run(Some(&format!("{mode}:{ordinal}"))).await?;
    }
    println!("{} of {SAMPLE} faults were struck, over {acts} acts", campaign.struck);
    ensure!(u64::try_from(campaign.struck)? * 4 >= SAMPLE * 3, "only {} faults were struck", campaign.struck);
    Ok(())
}

async fn whole(mode: &str) -> Result<()> {
    let mut campaign = Campaign::start().await?;
    let acts = campaign.acts;
    for ordinal in 1..=acts {
        campaign.run(Some(&format!("{mode}:{ordinal}"))).await?;
    }
    println!("{mode}: {} of {acts} faults were struck", campaign.struck);
    ensure!(u64::try_from(campaign.struck)? * 10 >= acts * 9, "only {} faults were struck", campaign.struck);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour"]
async fn whole_matrix_killed_before_each_act() -> Result<()> {
    whole("kill_before").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour"]
async fn whole_matrix_killed_after_each_act() -> Result<()> {
    whole("kill_after").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour"]
async fn whole_matrix_the_answer_of_each_act_is_lost() -> Result<()> {
    whole("lost_reply").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour"]
async fn whole_matrix_each_act_fails_once() -> Result<()> {
    whole("error").await
}
