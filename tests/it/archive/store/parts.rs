//! Uploads in parts, as S3 has them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use super::{Answer, Inner, Object, Request, ScriptedStore, refuse};
use crate::client::sha256;

#[derive(Default)]
pub(super) struct Uploads {
    by_id: BTreeMap<String, Upload>,
    begun: usize,
    is_unknown: bool,
}

struct Upload {
    key: String,
    meta: BTreeMap<String, String>,
    parts: BTreeMap<usize, Part>,
}

struct Part {
    etag: String,
    checksum: String,
    bytes: Vec<u8>,
}

impl ScriptedStore {
    /// The keys of the uploads that were begun, and neither completed nor aborted.
    pub fn uploads(&self) -> Vec<String> {
        let inner = self.lock();
        let uploads = inner.uploads.by_id.values();
        uploads.map(|upload| upload.key.clone()).collect()
    }

    /// Begins an upload as somebody else does.
    pub fn begin_upload(&self, key: &str) {
        self.lock().uploads.begin(key, BTreeMap::new());
    }

    /// Whether the store knows uploads in parts.
    pub fn set_multipart(&self, is_known: bool) {
        self.lock().uploads.is_unknown = !is_known;
    }
}

impl Uploads {
    fn begin(&mut self, key: &str, meta: BTreeMap<String, String>) -> String {
        self.begun += 1;
        // With characters that a query and XML quote.
        let id = format!("{}~/+&<", self.begun);
        let upload = Upload {
            key: key.to_owned(),
            meta,
            parts: BTreeMap::new(),
        };
        self.by_id.insert(id.clone(), upload);
        id
    }
}

impl Inner {
    /// `None` for what is not about parts.
    pub(super) fn act_on_parts(
        &mut self,
        request: &Request,
        key: &str,
        body: &[u8],
    ) -> Option<Answer> {
        let query = Query::of(&request.query);
        let begins = query.value("uploads").is_some();
        let id = query.value("uploadId");
        if !begins && id.is_none() {
            return None;
        }
        if self.uploads.is_unknown {
            return Some(refuse(501, "NotImplemented", ""));
        }
        let Some(id) = id else {
            return Some(if request.method == "POST" {
                let algorithm = &request.fields["x-amz-checksum-algorithm"];
                assert_eq!(algorithm, "SHA256");
                let id = self.uploads.begin(key, request.fields.clone());
                let id = escaped(&id);
                xml(&format!("<R><UploadId>{id}</UploadId></R>"))
            } else {
                self.list_uploads(&query.value("prefix").unwrap_or_default())
            });
        };
        let is_known = self
            .uploads
            .by_id
            .get(&id)
            .is_some_and(|upload| upload.key == key);
        if !is_known {
            return Some(refuse(404, "NoSuchUpload", ""));
        }
        Some(match request.method.as_str() {
            "PUT" => self.put_part(&id, &query, request, body),
            "POST" => self.complete(&id, request, body),
            _ => {
                self.uploads.by_id.remove(&id);
                (204, String::new(), Vec::new())
            }
        })
    }

    fn list_uploads(&self, prefix: &str) -> Answer {
        let mut text = "<ListMultipartUploadsResult>".to_owned();
        for (id, upload) in &self.uploads.by_id {
            if upload.key.starts_with(prefix) {
                let (key, id) = (&upload.key, escaped(id));
                let _ = write!(
                    text,
                    "<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>"
                );
            }
        }
        xml(&(text + "</ListMultipartUploadsResult>"))
    }

    fn put_part(&mut self, id: &str, query: &Query, request: &Request, bytes: &[u8]) -> Answer {
        let stated = &request.fields["x-amz-content-sha256"];
        if *stated != sha256(bytes) {
            return refuse(400, "XAmzContentSHA256Mismatch", "");
        }
        let number = query.value("partNumber").unwrap().parse().unwrap();
        let etag = format!("\"part&{number}\"");
        let part = Part {
            etag: etag.clone(),
            checksum: request.fields["x-amz-checksum-sha256"].clone(),
            bytes: bytes.to_vec(),
        };
        let upload = self.uploads.by_id.get_mut(id).unwrap();
        upload.parts.insert(number, part);
        (200, format!("ETag: {etag}\r\n"), Vec::new())
    }

    fn complete(&mut self, id: &str, request: &Request, body: &[u8]) -> Answer {
        assert_eq!(request.fields["x-amz-content-sha256"], sha256(body));
        let upload = &self.uploads.by_id[id];
        let mut wanted = String::new();
        for (number, part) in &upload.parts {
            let (etag, checksum) = (escaped(&part.etag), &part.checksum);
            let _ = write!(
                wanted,
                "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumSHA256>{checksum}</ChecksumSHA256></Part>"
            );
        }
        let text = String::from_utf8_lossy(body);
        let (_, list) = text.split_once('>').unwrap();
        let list = list.strip_suffix("</CompleteMultipartUpload>").unwrap();
        // All numbers from 1 on, and all of one size but the last.
        let sizes: Vec<_> = upload.parts.values().map(|part| part.bytes.len()).collect();
        let numbers = upload.parts.keys().copied();
        let is_whole = numbers.eq(1..=sizes.len())
            && sizes
                .windows(2)
                .all(|two| two[0] == sizes[0] && two[1] <= sizes[0]);
        if list != wanted || !is_whole {
            return refuse(400, "InvalidPart", "");
        }
        let upload = self.uploads.by_id.remove(id).unwrap();
        let mut meta = upload.meta;
        let count = upload.parts.len();
        let of_parts = format!("{}-{count}", upload.parts[&1].checksum);
        meta.insert("x-amz-checksum-sha256".to_owned(), of_parts);
        let bytes = upload.parts.into_values().flat_map(|part| part.bytes);
        let object = Object {
            bytes: bytes.collect(),
            meta,
            stored_at: SystemTime::now(),
        };
        self.objects.insert(upload.key, object);
        xml("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
    }
}

struct Query(BTreeMap<String, String>);

impl Query {
    fn of(text: &str) -> Query {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.to_owned(), unquoted(value)));
        Query(pairs.collect())
    }

    fn value(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

fn unquoted(text: &str) -> String {
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = u8::from_str_radix(&part[..2], 16).unwrap();
        plain.push(char::from(byte));
        plain += &part[2..];
    }
    plain
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn xml(text: &str) -> Answer {
    (200, String::new(), text.as_bytes().to_vec())
}
