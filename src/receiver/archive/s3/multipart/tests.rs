//! What is said to the store and understood of its answers, without a store.

use super::*;

#[test]
fn parts_are_of_equal_size_and_never_too_many() {
    let bounds = Bounds::USUAL;
    assert_eq!(bounds.part_bytes_of(PUT_BYTES_MAX + 1), PART_BYTES);
    assert_eq!(bounds.part_bytes_of(PARTS_MAX * PART_BYTES), PART_BYTES);
    let more = bounds.part_bytes_of(PARTS_MAX * PART_BYTES + 1);
    assert_eq!(more, PART_BYTES + (1 << 20));
    let bytes: u64 = 1 << 50;
    assert!(bytes.div_ceil(bounds.part_bytes_of(bytes)) <= PARTS_MAX);
}

#[test]
fn a_200_counts_only_with_the_result_in_it() {
    let good = "<?xml version=\"1.0\"?>\n\n  <CompleteMultipartUploadResult xmlns=\"x\"><ETag>a</ETag></CompleteMultipartUploadResult>";
    assert!(is_completed(good).is_ok());
    for bad in [
        "<?xml version=\"1.0\"?>  <Error><Code>InternalError</Code></Error>",
        "   ",
        "",
    ] {
        let fault = is_completed(bad).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Busy, "{bad}");
    }
}

#[test]
fn only_uploads_of_the_key_itself_are_ended() {
    let one =
        |key: &str, id: &str| format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
    let inside = one("a~b", "1") + &one("a~bc", "2") + &one("a~b", "") + &one("a~b", "3&amp;");
    let list = format!("<ListMultipartUploadsResult>{inside}</ListMultipartUploadsResult>");
    let ids: Vec<_> = uploads_in(&list, "a~b")
        .into_iter()
        .map(|id| id.0)
        .collect();
    assert_eq!(ids, ["1", "3&"]);
    assert!(uploads_in(&inside, "a~b").is_empty());
}

#[test]
fn an_etag_goes_back_as_it_came() {
    let part = Part {
        number: 2,
        etag: "\"a&b\"".to_owned(),
        sha256: Sha256Digest::from_bytes([0; 32]),
    };
    let list = list_of(&[part]);
    assert!(
        list.contains("<PartNumber>2</PartNumber><ETag>\"a&amp;b\"</ETag>"),
        "{list}"
    );
}
