//! Service protection over HTTP: each limit, its words, its `Retry-After`, and what the report counts.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Response;
use serde_json::{Value as Json, json};

use super::super::{Protection, RetryAfter};
use super::{World, create_part, outcome};

async fn with(change: impl FnOnce(&mut Protection)) -> World {
    let mut limits = Protection { window_s: 60.0, ..Protection::default() };
    change(&mut limits);
    World::with(|options| options.protection = Some(limits)).await
}

async fn ask(world: &World) -> Response {
    world.request("GET", "WhoAmI").send().await.unwrap()
}

async fn report(world: &World) -> Json {
    let answer = world.client.get(format!("{}/sandbox/report", world.base)).send().await.unwrap();
    answer.json().await.unwrap()
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn one_request_too_many_is_told_how_long_to_wait() {
    let world = with(|limits| limits.requests = 3).await;
    let mut left = Vec::new();
    for _ in 0..3 {
        let answer = ask(&world).await;
        assert_eq!(answer.status(), 200);
        left.push(header(&answer, "x-ms-ratelimit-burst-remaining-xrm-requests"));
    }
    assert_eq!(left, ["2", "1", "0"]);
    let refused = ask(&world).await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = header(&refused, "retry-after").parse().unwrap();
    assert!((58..=61).contains(&wait), "{wait}");
    assert_eq!(
        refused.json::<Json>().await.unwrap(),
        json!({ "error": {
            "code": "0x80072322",
            "message": "Number of requests exceeded the limit of 3 over time window of 60 seconds.",
        } })
    );
    let report = report(&world).await;
    assert_eq!((&report["requests"], &report["refused"]["requests"]), (&json!(3), &json!(1)));
}

#[tokio::test]
async fn execution_time_is_used_up_by_operations() {
    // Ten operations of 40 ms use up 0.4 s; a request that began below the limit is finished.
    let world = with(|limits| {
        limits.execution_s = 0.3;
        limits.operation_ms = 40.0;
    })
    .await;
    let body = format!("{}--batch_1--", create_part("x").repeat(10));
    let answer = world.batch(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "x-ms-ratelimit-time-remaining-xrm-requests"), "0.00");
    let refused = outcome(ask(&world).await).await;
    assert_eq!(refused, (429, "0x80072321".into()));
    let report = report(&world).await;
    assert_eq!((&report["operations"], &report["execution_ms"]), (&json!(10), &json!(400.0)));
    assert_eq!(report["refused"]["execution"], json!(1));
}

#[tokio::test]
async fn too_many_at_once_are_refused_at_once() {
    let world = with(|limits| {
        limits.concurrent = 2;
        limits.request_ms = 300.0;
    })
    .await;
    let answers = join_all((0..5).map(|_| ask(&world))).await;
    let refused: Vec<Response> = answers.into_iter().filter(|answer| answer.status() == 429).collect();
    assert_eq!(refused.len(), 3);
    for answer in refused {
        assert_eq!(outcome(answer).await, (429, "0x80072326".into()));
    }
    assert_eq!(ask(&world).await.status(), 200);
    assert_eq!(report(&world).await["servers"][0]["concurrent_max"], json!(2));
}

#[tokio::test]
async fn a_server_with_few_workers_lets_the_others_wait() {
    let world = with(|limits| {
        limits.workers = 2;
        limits.request_ms = 100.0;
    })
    .await;
    let began = std::time::Instant::now();
    let answers = join_all((0..6).map(|_| ask(&world))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(report(&world).await["execution_ms"], json!(600.0));
}

#[tokio::test]
async fn the_way_to_the_server_takes_time_and_occupies_nobody() {
    let world = with(|limits| {
        limits.latency_ms = 150.0;
        limits.request_ms = 1.0;
        limits.workers = 1;
    })
    .await;
    let began = std::time::Instant::now();
    join_all((0..8).map(|_| ask(&world))).await;
    let elapsed = began.elapsed();
    assert!(elapsed >= Duration::from_millis(150) && elapsed < Duration::from_millis(1_000), "{elapsed:?}");
    assert_eq!(report(&world).await["execution_ms"], json!(8.0));
}

#[tokio::test]
async fn without_cookies_every_server_gives_its_own_share() {
    let world = with(|limits| {
        limits.servers = 3;
        limits.requests = 2;
    })
    .await;
    let mut cookies = Vec::new();
    for _ in 0..6 {
        let answer = ask(&world).await;
        assert_eq!(answer.status(), 200);
        cookies.push(header(&answer, "set-cookie"));
    }
    assert_eq!(ask(&world).await.status(), 429);
    cookies.dedup();
    cookies.sort();
    cookies.dedup();
    assert_eq!(cookies.len(), 3);

    // A cookie pins to one server and its limits.
    let pinned = with(|limits| {
        limits.servers = 3;
        limits.requests = 2;
    })
    .await;
    let cookie = header(&ask(&pinned).await, "set-cookie");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = pinned.request("GET", "WhoAmI").header("Cookie", &cookie).send().await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 429]);
    let told = report(&pinned).await;
    assert_eq!((&told["servers"][0]["requests"], &told["servers"][1]["requests"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn every_identity_has_limits_of_its_own() {
    let mut world = with(|limits| limits.requests = 1).await;
    assert_eq!(ask(&world).await.status(), 200);
    assert_eq!(ask(&world).await.status(), 429);
    world.token = world.sign_in_as("other").await;
    assert_eq!(ask(&world).await.status(), 200);
}

#[tokio::test]
async fn retry_after_is_written_as_the_options_say() {
    for (retry_after, fits) in [
        (RetryAfter::Decimal, (|text| text.contains('.') && text.parse::<f64>().is_ok()) as fn(&str) -> bool),
        (RetryAfter::Date, |text| text.ends_with(" GMT") && text.len() == 29),
        (RetryAfter::Absent, str::is_empty),
    ] {
        let world = with(|limits| {
            limits.requests = 1;
            limits.retry_after = retry_after;
        })
        .await;
        ask(&world).await;
        let refused = ask(&world).await;
        assert_eq!(refused.status(), 429);
        let text = header(&refused, "retry-after");
        assert!(fits(&text), "{retry_after:?}: {text}");
    }
}

#[tokio::test]
async fn whoever_waits_as_told_is_let_in_again_and_the_share_is_told() {
    let world = with(|limits| {
        limits.window_s = 0.2;
        limits.requests = 20;
        limits.retry_after = RetryAfter::Decimal;
    })
    .await;
    let mut refused = 0;
    let mut done = 0;
    while done < 120 {
        let answer = ask(&world).await;
        if answer.status() == 200 {
            done += 1;
            continue;
        }
        refused += 1;
        let wait: f64 = header(&answer, "retry-after").parse().unwrap();
        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
    }
    assert!(refused >= 4, "{refused}");
    let told = report(&world).await;
    assert_eq!((&told["requests"], &told["refused"]["requests"]), (&json!(120), &json!(refused)));
    for window in told["servers"][0]["windows"].as_array().unwrap() {
        assert!(window["requests"].as_u64().unwrap() <= 20, "{window}");
    }
    assert!(told["share"].as_f64().unwrap() > 0.0);

    let path = format!("{}/sandbox/report", world.base);
    assert_eq!(world.client.delete(&path).send().await.unwrap().status(), 204);
    assert_eq!(report(&world).await["requests"], json!(0));
}

#[tokio::test]
async fn without_limits_nobody_is_refused_and_the_documented_ones_are_told() {
    let world = World::start().await;
    let answer = ask(&world).await;
    assert_eq!(header(&answer, "x-ms-ratelimit-burst-remaining-xrm-requests"), "5999");
    let left = header(&answer, "x-ms-ratelimit-time-remaining-xrm-requests");
    assert!(left == "1,200.00" || left.starts_with("1,199."), "{left}");
    assert_eq!(header(&answer, "x-ms-dop-hint"), "4");
    let answers = join_all((0..60).map(|_| ask(&world))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
}
