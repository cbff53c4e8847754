// Keys: signers.json, what a key counts for, and signatures by WebCrypto. A key under which anybody could sign is refused.

const SIGNERS_BYTES_MAX = 16 * 1024 * 1024;
const ED_PRIME = 2n ** 255n - 19n;
const ED_D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;
const SMALL_ORDER_Y = new Set([
  0n, 1n, ED_PRIME - 1n,
  0x5fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
]);
const ED_SPKI = fromHex("302a300506032b6570032100");
const RSA_OID = fromHex("300d06092a864886f70d0101010500");
const SIGNER_FIELDS = new Set([
  "signer_kid", "algorithm", "public_key_pem", "mac_key_id", "mac_check", "description", "deployedAt", "retiredAt",
  "revokedAt", "validity", "signs",
]);
const KINDS = new Set(["proof", "demand", "checkpoint", "manifest", "audit_event", "backup", "drill", "rules", "bundle"]);
const SPEAKS_OF_ANY_HISTORY = new Set(["demand", "bundle"]); // a key of today may sign what is older than itself
const SPAN = /^(0|[1-9][0-9]{0,14})$/;

const bigOf = (bytes) => BigInt(`0x${hexOf(bytes) || "0"}`);

function power(base, exponent, modulus) {
  let result = 1n;
  for (base %= modulus; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % modulus;
    base = (base * base) % modulus;
  }
  return result;
}

function edFault(raw) {
  const little = Uint8Array.from(raw).reverse();
  const sign = little[0] >> 7;
  little[0] &= 127;
  const y = bigOf(little);
  if (y >= ED_PRIME) return "an Ed25519 point in another encoding than its one";
  if (SMALL_ORDER_Y.has(y)) return "an Ed25519 point of small order: anybody could sign";
  const square = ((y * y - 1n + ED_PRIME) * power(ED_D * y * y + 1n, ED_PRIME - 2n, ED_PRIME)) % ED_PRIME;
  if (square === 0n && sign) return "an Ed25519 point in another encoding than its one";
  return power(square, (ED_PRIME - 1n) / 2n, ED_PRIME) === ED_PRIME - 1n ? "no point of Ed25519" : null;
}

function rootOf(n) {
  let x = 1n << BigInt(Math.ceil(n.toString(2).length / 2));
  for (;;) {
    const next = (x + n / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

function rsaFault(n, e) {
  if (n.toString(2).length < 2048) return "an RSA key of fewer than 2048 bits";
  if (n.toString(2).length > 16384) return "an RSA key of more than 16384 bits";
  if (e < 65537n || e % 2n === 0n || e >= n) return "an RSA exponent below 65537, or an even one";
  for (let p = 2n; p < 10000n; p += 1n) if (n % p === 0n) return "an RSA modulus with a small factor";
  const root = rootOf(n);
  if (root * root === n) return "an RSA modulus that is a square";
  for (let a = root + 1n, step = 0; step < 100; a += 1n, step += 1) {
    const left = a * a - n;
    const side = rootOf(left);
    if (side * side === left) return "an RSA modulus with close factors";
  }
  return power(2n, n - 1n, n) === 1n ? "an RSA modulus that is prime" : null;
}

function derPart(bytes, at, tag) {
  if (bytes[at] !== tag) throw new Error("tag");
  let size = bytes[at + 1];
  let from = at + 2;
  if (size & 128) {
    const count = size & 127;
    size = 0;
    for (let n = 0; n < count; n += 1) size = size * 256 + bytes[from + n];
    from += count;
  }
  if (from + size > bytes.length) throw new Error("size");
  return [bytes.subarray(from, from + size), from + size];
}

function rsaNumbers(der) {
  const [outer, end] = derPart(der, 0, 0x30);
  if (end !== der.length || !same(outer.subarray(0, RSA_OID.length), RSA_OID)) throw new Error("kind");
  const [bits] = derPart(outer, RSA_OID.length, 0x03);
  const [inner] = derPart(bits.subarray(1), 0, 0x30);
  const [n, next] = derPart(inner, 0, 0x02);
  const [e] = derPart(inner, next, 0x02);
  return [bigOf(n), bigOf(e)];
}

function derOfPem(pem) {
  const form = /^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)\n-----END PUBLIC KEY-----\n?$/.exec(pem);
  if (!form) throw new Fault("signers.key", "no public key in PEM", "public_key_pem");
  return fromBase64(form[1].replaceAll("\n", ""), "signers.key", "public_key_pem");
}

async function publicKey(signer) {
  const der = derOfPem(signer.public_key_pem);
  let fault = null;
  let algorithm = null;
  if (signer.algorithm === "ed25519") {
    const fits = der.length === 44 && same(der.subarray(0, 12), ED_SPKI);
    fault = fits ? edFault(der.subarray(12)) : "no Ed25519 key";
    algorithm = { name: "Ed25519" };
  } else {
    try {
      fault = rsaFault(...rsaNumbers(der));
    } catch {
      fault = "no RSA key";
    }
    algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  }
  if (fault) throw new Fault("signers.key", fault, "public_key_pem");
  try {
    return { der, key: await crypto.subtle.importKey("spki", der, algorithm, true, ["verify"]), how: algorithm };
  } catch {
    throw new Fault("signers.key", "the browser cannot read this key", "public_key_pem");
  }
}

function timeOf(text, field) {
  if (text === undefined) return null;
  const form = typeof text === "string" && /^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?Z$/.exec(text);
  if (!form || !isDay(text)) throw new Fault("signers.form", `${field} is no time in UTC`, field);
  return `${form[1]}.${(form[2] || "").padEnd(6, "0")}Z`;
}

function spanOf(span, field, names) {
  const fits = TYPES.object(span) && Object.keys(span).every((name) => names.has(name)) && typeof span.from_seq === "string";
  const bounds = fits ? [span.from_seq, span.to_seq].filter((each) => each !== undefined) : [];
  if (!fits || !bounds.every((each) => typeof each === "string" && SPAN.test(each))) {
    throw new Fault("signers.form", "a validity has from_seq, to_seq and head_hash", field);
  }
  if (span.head_hash !== undefined && !(/^[0-9a-f]{64}$/.test(span.head_hash) && span.to_seq !== undefined)) {
    throw new Fault("signers.form", "head_hash is 64 hex digits, beside to_seq", field);
  }
  return { from: Number(span.from_seq), to: span.to_seq === undefined ? Infinity : Number(span.to_seq), head: span.head_hash || null };
}

function validityOf(validity) {
  if (validity === undefined) return { shards: null, audit: null };
  if (!TYPES.object(validity) || !Object.keys(validity).every((name) => name === "shards" || name === "audit")) {
    throw new Fault("signers.form", "validity has shards and audit, and no other field", "validity");
  }
  let shards = null;
  if (validity.shards !== undefined) {
    if (!Array.isArray(validity.shards)) throw new Fault("signers.form", "shards is a list", "validity.shards");
    shards = new Map();
    for (const each of validity.shards) {
      const span = spanOf(each, "validity.shards", new Set(["shard", "from_seq", "to_seq", "head_hash"]));
      if (!Number.isSafeInteger(each.shard) || each.shard < 0 || shards.has(each.shard)) {
        throw new Fault("signers.form", "each shard stands once", "validity.shards");
      }
      shards.set(each.shard, span);
    }
  }
  const names = new Set(["from_seq", "to_seq", "head_hash"]);
  return { shards, audit: validity.audit === undefined ? null : spanOf(validity.audit, "validity.audit", names) };
}

async function oneSigner(given) {
  if (!TYPES.object(given)) throw new Fault("signers.form", "a signer is an object");
  for (const name of Object.keys(given)) {
    if (!SIGNER_FIELDS.has(name)) throw new Fault("signers.form", `${name} is a field that no signer has`, name);
  }
  if (typeof given.signer_kid !== "string" || !/^[!-~]{1,200}$/.test(given.signer_kid)) {
    throw new Fault("signers.form", "signer_kid is printable ASCII without blanks", "signer_kid");
  }
  if (!["ed25519", "rsa-sha256", "hmac-sha256"].includes(given.algorithm)) {
    throw new Fault("signers.form", "algorithm is rsa-sha256, ed25519 or hmac-sha256", "algorithm");
  }
  const signs = given.signs === undefined ? null : given.signs;
  if (signs !== null && !(Array.isArray(signs) && signs.every((kind) => KINDS.has(kind)) && new Set(signs).size === signs.length)) {
    throw new Fault("signers.form", "signs is a list of kinds of statements, each once", "signs");
  }
  const made = {
    kid: given.signer_kid, algorithm: given.algorithm, signs: signs && new Set(signs), retiredAt: timeOf(given.retiredAt, "retiredAt"),
    revokedAt: timeOf(given.revokedAt, "revokedAt"), validity: validityOf(given.validity), key: null,
  };
  const isMac = given.algorithm === "hmac-sha256";
  const [wanted, other] = isMac ? [["mac_key_id", "mac_check"], ["public_key_pem"]] : [["public_key_pem"], ["mac_key_id", "mac_check"]];
  for (const name of wanted) {
    if (typeof given[name] !== "string") throw new Fault("signers.form", `${name} is missing`, name);
  }
  for (const name of other) {
    if (given[name] !== undefined) throw new Fault("signers.form", `${name} cannot stand beside ${wanted[0]}`, name);
  }
  if (isMac) {
    made.fingerprint = hexOf(sha256(utf8.encode(`hmac-sha256\n${given.mac_key_id}\n${given.mac_check}\n`)));
  } else {
    Object.assign(made, await publicKey(given));
    made.fingerprint = hexOf(sha256(made.der));
  }
  return made;
}

async function readSigners(bytes) {
  if (bytes.length > SIGNERS_BYTES_MAX) throw new Fault("signers.form", "a registry of more than 16 MiB");
  const whole_ = looseObject(textOf(bytes, "signers.form"), "signers.form");
  if (!TYPES.object(whole_) || Object.keys(whole_).join() !== "signers" || !Array.isArray(whole_.signers)) {
    throw new Fault("signers.form", "a registry is {\"signers\": [...]} and nothing else", "signers");
  }
  if (whole_.signers.length === 0) throw new Fault("signers.form", "a registry of no signers trusts nobody", "signers");
  if (whole_.signers.length > 1000) throw new Fault("signers.form", "more than 1,000 signers", "signers");
  const made = new Map();
  for (const given of whole_.signers) {
    const signer = await oneSigner(given);
    if (made.has(signer.kid)) throw new Fault("signers.form", `${signer.kid} stands twice`, "signer_kid");
    made.set(signer.kid, signer);
  }
  return made;
}

// Why a key does not count for a statement: [code, words, field], or null. `claim`: kind, ts, shards [{shard, seq,
// head}] or audit {seq, head}, alone.
function notCounting(signer, claim) {
  if (signer.signs && !signer.signs.has(claim.kind)) return ["signs", `the key is not registered for ${claim.kind}`, "signer_kid"];
  if (claim.ts && signer.retiredAt && claim.ts > signer.retiredAt) return ["retired", `dated behind the key's end, ${signer.retiredAt}`, "ts"];
  const places = claim.shards || [];
  for (const place of places) {
    if (signer.validity.shards === null) continue;
    const span = signer.validity.shards.get(place.shard);
    if (!span || place.seq > span.to || (place.seq < span.from && !SPEAKS_OF_ANY_HISTORY.has(claim.kind))) {
      return ["validity", `the key does not count for seq ${place.seq} of shard ${place.shard}`, "signer_kid"];
    }
    if (span.head && place.seq === span.to && place.head !== undefined && place.head !== span.head) {
      return ["validity", `the key's end has another head at seq ${place.seq}`, "head_hash"];
    }
  }
  const span = signer.validity.audit;
  if (claim.audit && span && (claim.audit.seq < span.from || claim.audit.seq > span.to)) {
    return ["validity", `the key does not count for event ${claim.audit.seq}`, "signer_kid"];
  }
  if (claim.audit && span && span.head && claim.audit.seq === span.to && claim.audit.head !== span.head) {
    return ["validity", "the key's end has another hash", "hash"];
  }
  if (signer.revokedAt && claim.alone && !claim.held) {
    const pinned = places.length > 0 && places.every((place) => {
      const end = signer.validity.shards && signer.validity.shards.get(place.shard);
      return end && end.head && end.to === place.seq && end.head === place.head;
    });
    if (!pinned) return ["revoked", "the key was revoked: who holds it dates what he signs as he likes", "signer_kid"];
  }
  return null;
}

// `message` is what is signed as text by RSA (WebCrypto hashes it) and, for a statement, the bytes behind `hash`.
async function signatureHolds(signer, signature, message, digest) {
  const covered = signer.algorithm === "ed25519" && digest ? digest : message;
  try {
    return await crypto.subtle.verify(signer.how, signer.key, signature, covered);
  } catch {
    return false;
  }
}
