// The ZIP file of a bundle, in its one spelling: each header is written anew from names, sizes and CRCs, and compared.

const MEMBER_BYTES_MAX = 512 * 1024 * 1024;
const MEMBERS_MAX = 2000000;
const DIRECTORY_BYTES_MAX = 512 * 1024 * 1024;
const FAR = 0xffffffff;
const WIDE = "[0-9]{19}";
const MEMBER_NAME = new RegExp(
  "^(README\\.html|SHA256SUMS|bundle\\.json|signers\\.json|verify\\.html|verify\\.sh"
    + `|audit/seqs-${WIDE}-${WIDE}\\.jsonl\\.gz|pii/openings\\.jsonl`
    + `|shards/[0-9]{5,10}/(batches/offsets-${WIDE}-${WIDE}\\.seqs-${WIDE}-${WIDE}\\.jsonl\\.gz`
    + `|(manifests|proofs)/${WIDE}\\.json|checkpoints/(first|last)\\.note|consistency\\.json|matching\\.jsonl))$`,
);
const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

// Little-endian fields: [width, value] each.
function packed(...fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [width]) => sum + width, 0));
  let at = 0;
  for (const [width, value] of fields) {
    let rest = BigInt(value);
    for (let n = 0; n < width; n += 1, rest >>= 8n) bytes[at + n] = Number(rest & 255n);
    at += width;
  }
  return bytes;
}

const two = (...values) => values.map((value) => [2, value]);
const four = (...values) => values.map((value) => [4, value]);

function localHeader({ name, size, crc }) {
  return joined(packed([4, 0x04034b50], ...two(20, 0, 0, 0, 33), ...four(crc, size, size), ...two(name.length, 0)), utf8.encode(name));
}

function centralHeader({ name, size, crc, at }) {
  const far = at >= FAR;
  const version = far ? 45 : 20;
  const extra = far ? packed(...two(1, 8), [8, at]) : NOTHING;
  const start = packed(
    [4, 0x02014b50], ...two(version, version, 0, 0, 0, 33), ...four(crc, size, size), ...two(name.length, extra.length, 0, 0, 0),
    ...four(0, far ? FAR : at),
  );
  return joined(start, utf8.encode(name), extra);
}

function endRecords(count, size, at) {
  const small = packed([4, 0x06054b50], ...two(0, 0, Math.min(count, 0xffff), Math.min(count, 0xffff)), ...four(Math.min(size, FAR), Math.min(at, FAR)), [2, 0]);
  if (count < 0xffff && size < FAR && at < FAR) return small;
  const end64 = packed([4, 0x06064b50], [8, 44], ...two(45, 45), ...four(0, 0), [8, count], [8, count], [8, size], [8, at]);
  return joined(end64, packed(...four(0x07064b50, 0), [8, at + size], [4, 1]), small);
}

const zipFault = (words) => new Fault("bundle.zip", `not the ZIP file of a bundle: ${words}`, "data");
const bytesAt = async (blob, at, count) => new Uint8Array(await blob.slice(at, at + count).arrayBuffer());

async function directoryPlace(blob) {
  if (blob.size < 22) throw zipFault("too short");
  const end = new DataView((await bytesAt(blob, blob.size - 22, 22)).buffer);
  if (end.getUint32(0, true) !== 0x06054b50) throw zipFault("its end is not at the end: cut off, or bytes follow it");
  let [count, size, at] = [end.getUint16(10, true), end.getUint32(12, true), end.getUint32(16, true)];
  if (count === 0xffff || size === FAR || at === FAR) {
    if (blob.size < 98) throw zipFault("a ZIP64 end is missing");
    const far = new DataView((await bytesAt(blob, blob.size - 98, 56)).buffer);
    if (far.getUint32(0, true) !== 0x06064b50) throw zipFault("a ZIP64 end is missing");
    [count, size, at] = [32, 40, 48].map((place) => Number(far.getBigUint64(place, true)));
  }
  const ends = blob.size - at - size;
  if (count > MEMBERS_MAX || size > DIRECTORY_BYTES_MAX || !(ends >= 0 && ends <= 98)) throw zipFault("its end names more than the file holds");
  return { count, at };
}

// The members in order: name -> { name, size, crc, at, blob }.
async function zipMembers(blob) {
  const { count, at } = await directoryPlace(blob);
  const bytes = await bytesAt(blob, at, blob.size - at);
  const view = new DataView(bytes.buffer);
  const members = new Map();
  let [place, before, next] = [0, "", 0];
  for (let n = 0; n < count; n += 1) {
    if (bytes.length - place < 46) throw zipFault("the directory ends within a header");
    const [size, length] = [view.getUint32(place + 24, true), view.getUint16(place + 28, true)];
    let name = "";
    for (const byte of bytes.subarray(place + 46, place + 46 + length)) name += String.fromCharCode(byte);
    if (!MEMBER_NAME.test(name)) throw zipFault(`${name.slice(0, 80)} is the name of no member`);
    if (name <= before) throw zipFault(`${name} stands twice, or out of order`);
    if (size > MEMBER_BYTES_MAX) throw zipFault(`${name} has more than ${MEMBER_BYTES_MAX} bytes`);
    const member = { name, size, crc: view.getUint32(place + 16, true), at: next };
    const header = centralHeader(member);
    if (!same(header, bytes.subarray(place, place + header.length))) throw zipFault(`the directory spells ${name} in another way than its one`);
    const local = localHeader(member);
    const from = next + local.length;
    member.blob = blob.slice(from, from + size);
    members.set(name, member);
    [place, before, next] = [place + header.length, name, from + size];
  }
  if (!same(bytes.subarray(place), endRecords(count, place, at))) throw zipFault("its end is spelled in another way than its one");
  if (next !== at) throw zipFault("members and directory do not follow each other without a gap");
  for (const member of members.values()) {
    const local = localHeader(member);
    if (!same(local, await bytesAt(blob, member.at, local.length))) throw zipFault(`the header of ${member.name} is not that of the directory`);
  }
  return members;
}

// CRC and SHA-256 of a member, read as a stream.
async function memberSums(member, tick) {
  const reader = member.blob.stream().getReader();
  const hash = new Sha256();
  let crc = 0xffffffff;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    for (const byte of value) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
    hash.update(value);
    tick(value.length);
  }
  return { crc: (crc ^ 0xffffffff) >>> 0, sha256: hexOf(hash.digest()) };
}
