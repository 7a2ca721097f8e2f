//! CloudWatch Logs: groups, streams, events.

use serde_json::{Value, json};

use super::{NOW, World};

const NOW_MS: i64 = NOW * 1_000;
const GROUP: &str = "/vpn/connections";

async fn ok(world: &World, action: &str, body: Value) -> Value {
    let (status, answer) = world.logs(action, &body).await;
    assert_eq!(status, 200, "{action} {body}: {answer}");
    answer
}

async fn refused(world: &World, action: &str, body: Value) -> String {
    let (status, answer) = world.logs(action, &body).await;
    assert_eq!(status, 400, "{action} {body}: {answer}");
    answer["__type"].as_str().unwrap().to_owned()
}

async fn with_stream(world: &World) {
    ok(world, "CreateLogGroup", json!({"logGroupName": GROUP})).await;
    ok(world, "CreateLogStream", json!({"logGroupName": GROUP, "logStreamName": "s"})).await;
}

async fn put(world: &World, stream: &str, events: &[(i64, &str)]) -> Value {
    let events: Vec<Value> =
        events.iter().map(|(at, text)| json!({"timestamp": NOW_MS + at, "message": text})).collect();
    let body = json!({"logGroupName": GROUP, "logStreamName": stream, "logEvents": events});
    ok(world, "PutLogEvents", body).await
}

fn messages(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_group_lives() {
    let world = World::new();
    let create =
        json!({"logGroupName": GROUP, "tags": {"env": "test"}, "kmsKeyId": "k", "logGroupClass": "STANDARD"});
    ok(&world, "CreateLogGroup", create.clone()).await;
    assert_eq!(refused(&world, "CreateLogGroup", create).await, "ResourceAlreadyExistsException");
    ok(&world, "CreateLogGroup", json!({"logGroupName": "/vpn/other"})).await;
    let shown = ok(&world, "DescribeLogGroups", json!({"logGroupNamePrefix": GROUP})).await;
    let row = &shown["logGroups"][0];
    assert_eq!(shown["logGroups"].as_array().unwrap().len(), 1);
    let arn = "arn:aws:logs:us-east-1:000000000000:log-group:/vpn/connections";
    for (name, value) in [
        ("logGroupName", json!(GROUP)),
        ("arn", json!(format!("{arn}:*"))),
        ("logGroupArn", json!(arn)),
        ("creationTime", json!(NOW_MS)),
        ("retentionInDays", Value::Null),
        ("kmsKeyId", json!("k")),
        ("logGroupClass", json!("STANDARD")),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    ok(&world, "PutRetentionPolicy", json!({"logGroupName": GROUP, "retentionInDays": 7})).await;
    let bad = json!({"logGroupName": GROUP, "retentionInDays": 2});
    assert_eq!(refused(&world, "PutRetentionPolicy", bad).await, "InvalidParameterException");
    let all = ok(&world, "DescribeLogGroups", json!({"limit": 1})).await;
    assert_eq!(all["logGroups"][0]["retentionInDays"], 7);
    let next = ok(&world, "DescribeLogGroups", json!({"limit": 1, "nextToken": all["nextToken"]})).await;
    assert_eq!(
        (&next["logGroups"][0]["logGroupName"], &next["nextToken"]),
        (&json!("/vpn/other"), &Value::Null)
    );
    ok(&world, "DeleteRetentionPolicy", json!({"logGroupName": GROUP})).await;
    ok(&world, "TagResource", json!({"resourceArn": arn, "tags": {"a": "1", "b": "2"}})).await;
    ok(&world, "UntagResource", json!({"resourceArn": arn, "tagKeys": ["env", "a"]})).await;
    assert_eq!(
        ok(&world, "ListTagsForResource", json!({"resourceArn": arn})).await["tags"],
        json!({"b": "2"})
    );
    assert_eq!(
        ok(&world, "ListTagsLogGroup", json!({"logGroupName": GROUP})).await["tags"],
        json!({"b": "2"})
    );
    ok(&world, "DeleteLogGroup", json!({"logGroupName": GROUP})).await;
    let absent = "ResourceNotFoundException";
    assert_eq!(refused(&world, "DeleteLogGroup", json!({"logGroupName": GROUP})).await, absent);
    assert_eq!(refused(&world, "ListTagsForResource", json!({"resourceArn": arn})).await, absent);
    for (action, body) in [
        ("CreateLogGroup", json!({"logGroupName": "a b"})),
        ("CreateLogGroup", json!({"logGroupName": "a", "tags": {"aws:x": "1"}})),
        ("CreateLogGroup", json!({"logGroupName": "a", "logGroupClass": "GOLD"})),
        ("CreateLogGroup", json!({"logGroupName": "a", "colour": "red"})),
        ("CreateLogGroup", json!({})),
        ("DescribeLogGroups", json!({"limit": 51})),
        ("DescribeLogGroups", json!({"nextToken": "x"})),
    ] {
        assert_eq!(
            refused(&world, action, body.clone()).await,
            "InvalidParameterException",
            "{action} {body}"
        );
    }
}

#[tokio::test]
async fn streams() {
    let world = World::new();
    with_stream(&world).await;
    let name = json!({"logGroupName": GROUP, "logStreamName": "s"});
    assert_eq!(refused(&world, "CreateLogStream", name.clone()).await, "ResourceAlreadyExistsException");
    for number in 0..3 {
        let body = json!({"logGroupName": GROUP, "logStreamName": format!("t{number}")});
        ok(&world, "CreateLogStream", body).await;
    }
    put(&world, "t1", &[(0, "x")]).await;
    let names = |answer: &Value| -> Vec<String> {
        let rows = answer["logStreams"].as_array().unwrap();
        rows.iter().map(|row| row["logStreamName"].as_str().unwrap().to_owned()).collect()
    };
    let body = json!({"logGroupName": GROUP, "logStreamNamePrefix": "t", "limit": 2});
    let page = ok(&world, "DescribeLogStreams", body.clone()).await;
    assert_eq!(names(&page), ["t0", "t1"]);
    assert_eq!(page["logStreams"][1]["lastEventTimestamp"], NOW_MS);
    assert_eq!(
        page["logStreams"][0]["arn"],
        format!("arn:aws:logs:us-east-1:000000000000:log-group:{GROUP}:log-stream:t0")
    );
    let mut more = body;
    more["nextToken"] = page["nextToken"].clone();
    let page = ok(&world, "DescribeLogStreams", more).await;
    assert_eq!((names(&page), &page["nextToken"]), (vec!["t2".to_owned()], &Value::Null));
    let by_time = json!({"logGroupName": GROUP, "orderBy": "LastEventTime", "descending": true, "limit": 1});
    assert_eq!(names(&ok(&world, "DescribeLogStreams", by_time).await), ["t1"]);
    ok(&world, "DeleteLogStream", name.clone()).await;
    assert_eq!(refused(&world, "DeleteLogStream", name).await, "ResourceNotFoundException");
    ok(&world, "DeleteLogGroup", json!({"logGroupName": GROUP})).await;
    let left = store::Store::list(world.store.as_ref(), "/v1/").await.unwrap().entries;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn events_are_read_both_ways() {
    let world = World::new();
    with_stream(&world).await;
    put(&world, "s", &[(2, "c"), (3, "d")]).await;
    put(&world, "s", &[(0, "a"), (1, "b"), (4, "e")]).await;
    let get = async |more: Value| {
        let mut body = json!({"logGroupName": GROUP, "logStreamName": "s"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ok(&world, "GetLogEvents", body).await
    };
    assert_eq!(messages(&get(json!({})).await), ["a", "b", "c", "d", "e"]);
    let tail = get(json!({"limit": 2})).await;
    assert_eq!(messages(&tail), ["d", "e"]);
    let back = get(json!({"limit": 2, "nextToken": tail["nextBackwardToken"]})).await;
    assert_eq!(messages(&back), ["b", "c"]);
    let head = get(json!({"limit": 3, "startFromHead": true})).await;
    assert_eq!(messages(&head), ["a", "b", "c"]);
    let on = get(json!({"limit": 3, "nextToken": head["nextForwardToken"]})).await;
    assert_eq!(messages(&on), ["d", "e"]);
    // At the end the token stays the same until more comes.
    let end = get(json!({"nextToken": on["nextForwardToken"]})).await;
    assert_eq!((messages(&end).len(), &end["nextForwardToken"]), (0, &on["nextForwardToken"]));
    put(&world, "s", &[(5, "f")]).await;
    assert_eq!(messages(&get(json!({"nextToken": end["nextForwardToken"]})).await), ["f"]);
    let span = get(json!({"startTime": NOW_MS + 1, "endTime": NOW_MS + 3})).await;
    assert_eq!(messages(&span), ["b", "c"]);
    assert_eq!(span["events"][0]["ingestionTime"], NOW_MS);
    let bad = json!({"logGroupName": GROUP, "logStreamName": "s", "nextToken": "x"});
    assert_eq!(refused(&world, "GetLogEvents", bad).await, "InvalidParameterException");
}

#[tokio::test]
async fn events_are_filtered_over_streams() {
    let world = World::new();
    with_stream(&world).await;
    ok(&world, "CreateLogStream", json!({"logGroupName": GROUP, "logStreamName": "t"})).await;
    put(&world, "s", &[(0, "connect alice"), (2, "connect bob")]).await;
    put(&world, "t", &[(1, "disconnect alice")]).await;
    let filter = async |more: Value| {
        let mut body = json!({"logGroupName": GROUP});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ok(&world, "FilterLogEvents", body).await
    };
    let all = filter(json!({})).await;
    assert_eq!(messages(&all), ["connect alice", "disconnect alice", "connect bob"]);
    assert_eq!(messages(&filter(json!({"filterPattern": "alice -disconnect"})).await), ["connect alice"]);
    assert_eq!(messages(&filter(json!({"logStreamNames": ["t"]})).await), ["disconnect alice"]);
    let page = filter(json!({"limit": 2})).await;
    assert_eq!(messages(&page).len(), 2);
    assert_eq!(messages(&filter(json!({"nextToken": page["nextToken"]})).await), ["connect bob"]);
    let back = filter(json!({"limit": 2, "startFromHead": false})).await;
    assert_eq!(messages(&back), ["connect bob", "disconnect alice"]);
    assert_eq!(messages(&filter(json!({"nextToken": back["nextToken"]})).await), ["connect alice"]);
    let json_selector = json!({"logGroupName": GROUP, "filterPattern": "{ $.a = 1 }"});
    assert_eq!(refused(&world, "FilterLogEvents", json_selector).await, "InvalidParameterException");
}

#[tokio::test]
async fn what_is_not_taken() {
    const HOUR: i64 = 3_600_000;
    let world = World::new();
    with_stream(&world).await;
    ok(&world, "PutRetentionPolicy", json!({"logGroupName": GROUP, "retentionInDays": 1})).await;
    let answer = put(&world, "s", &[(-25 * HOUR, "expired"), (-2 * HOUR, "kept")]).await;
    assert_eq!(answer["rejectedLogEventsInfo"], json!({"expiredLogEventEndIndex": 1}));
    let answer = put(&world, "s", &[(0, "kept"), (3 * HOUR, "future")]).await;
    assert_eq!(answer["rejectedLogEventsInfo"], json!({"tooNewLogEventStartIndex": 1}));
    ok(&world, "DeleteRetentionPolicy", json!({"logGroupName": GROUP})).await;
    let answer = put(&world, "s", &[(-15 * 24 * HOUR, "old")]).await;
    assert_eq!(answer["rejectedLogEventsInfo"], json!({"tooOldLogEventEndIndex": 1}));
    let event = |at: i64, text: &str| json!({"timestamp": NOW_MS + at, "message": text});
    for events in [
        vec![],
        vec![event(0, "")],
        vec![event(1, "a"), event(0, "b")],
        vec![event(-25 * HOUR, "a"), event(0, "b")],
        vec![event(0, &"x".repeat(300_000))],
        (0..5).map(|_| event(0, &"x".repeat(250_000))).collect(),
    ] {
        let body = json!({"logGroupName": GROUP, "logStreamName": "s", "logEvents": events});
        assert_eq!(refused(&world, "PutLogEvents", body).await, "InvalidParameterException");
    }
}

#[tokio::test]
async fn retention_hides_and_then_removes() {
    let world = World::new();
    with_stream(&world).await;
    let big = "x".repeat(100_000);
    for _ in 0..3 {
        put(&world, "s", &[(0, &big)]).await;
    }
    let batches = async || world.records::<model::LogBatch>(model::Kind::LogBatch).await.len();
    assert_eq!(batches().await, 3);
    ok(&world, "PutRetentionPolicy", json!({"logGroupName": GROUP, "retentionInDays": 1})).await;
    let two_days = 2 * 24 * 3_600;
    world.clock.fetch_add(two_days, std::sync::atomic::Ordering::Relaxed);
    // The signature's time goes with the clock.
    let body = json!({"logGroupName": GROUP, "logStreamName": "s"});
    let later = async |action: &str, body: &Value| {
        let how = super::How { service: "logs", signed_at: NOW + two_days, ..super::How::default() };
        let target = format!("Logs_20140328.{action}");
        let text = body.to_string().into_bytes();
        let reply = world.send(super::signed(&how, "/", "", text, &[("x-amz-target", &target)])).await;
        serde_json::from_str::<Value>(&reply.body).unwrap()
    };
    assert_eq!(messages(&later("GetLogEvents", &body).await), Vec::<&str>::new());
    let mut put = body.clone();
    put["logEvents"] = json!([{"timestamp": (NOW + two_days) * 1_000, "message": "new"}]);
    assert_eq!(later("PutLogEvents", &put).await["rejectedLogEventsInfo"], Value::Null);
    assert_eq!(messages(&later("GetLogEvents", &body).await), ["new"]);
    assert!(batches().await < 4);
}

#[tokio::test]
async fn a_large_group_is_deleted_in_steps() {
    let world = World::new();
    with_stream(&world).await;
    let stream = world.records::<model::LogStream>(model::Kind::LogStream).await[0].value.clone();
    let batch = model::LogBatch { events: Vec::new() };
    for start in [0, 2_000, 4_000] {
        let ops = (start..start + 2_000)
            .map(|number| store::typed::put(model::Key::log_batch(&world.scope, &stream.id, number), &batch));
        let transaction = store::Transaction { checks: Vec::new(), ops: ops.collect(), soft: false };
        store::Store::transact(world.store.as_ref(), transaction).await.unwrap();
    }
    ok(&world, "DeleteLogGroup", json!({"logGroupName": GROUP})).await;
    assert!(store::Store::list(world.store.as_ref(), "/v1/").await.unwrap().entries.is_empty());
}
