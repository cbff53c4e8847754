// An audit batch: metadata, entries, verdict lines and the range proof, each recomputed.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strings"
)

const unpackedMax = 1 << 28

// unpacked takes one gzip member and nothing behind it, or bytes that are no gzip as they are.
func unpacked(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	packed := bytes.NewReader(data)
	member, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	made, err := io.ReadAll(io.LimitReader(member, unpackedMax+1))
	if err == nil && (packed.Len() > 0 || len(made) > unpackedMax) {
		err = fmt.Errorf("more than one gzip member, or too long")
	}
	return made, err
}

// tally is what the entries of a batch add up to.
type tally struct {
	shard      any
	next       uint64 // the sequence that comes next
	head       string
	totals     map[string]*big.Int
	from, to   string
	offsets    map[uint64]string // offset -> what became of it
	topic      string
	leaves     []string
	duplicates uint64
	verdicts   []byte // the verdict lines, each with its LF
}

func (r registry) batch(data []byte) error {
	data, err := unpacked(data)
	if err != nil {
		return err
	}
	if !bytes.HasSuffix(data, []byte("\n")) {
		return fmt.Errorf("the last line has no end")
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) < 2 {
		return fmt.Errorf("a batch has metadata and a proof")
	}
	meta, err := canonical([]byte(lines[0]))
	if err != nil {
		return err
	}
	proof, err := r.proof([]byte(lines[len(lines)-1]))
	if err != nil {
		return err
	}
	part, source := shardOf(proof)
	count, err1 := number(text(meta, "count"))
	verdicts, err2 := number(text(meta, "verdicts"))
	first, err3 := number(text(part, "first_seq"))
	if err1 != nil || err2 != nil || err3 != nil || uint64(len(lines)-2) != count+verdicts || count > uint64(len(lines)) {
		return fmt.Errorf("count and verdicts are not those of the lines")
	}
	seen := &tally{shard: part["shard"], next: first, head: text(part, "prev_hash"), totals: map[string]*big.Int{},
		offsets: map[uint64]string{}, topic: text(source, "topic")}
	for at, line := range lines[1 : len(lines)-1] {
		if uint64(at) < count {
			err = seen.entry(line)
		} else {
			err = seen.verdict(line)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", at+2, err)
		}
	}
	if err := seen.compare(proof, part, source); err != nil {
		return err
	}
	return sameMetadata(meta, proof, part, count, verdicts)
}

func (t *tally) entry(line string) error {
	entry, err := canonical([]byte(line))
	if err != nil {
		return err
	}
	source, _ := entry["source"].(object)
	offset, err := number(text(source, "offset"))
	if err != nil {
		return err
	}
	if seq, err := number(text(entry, "seq")); err != nil || seq != t.next || entry["shard"] != t.shard {
		return fmt.Errorf("not entry %d of the shard", t.next)
	}
	if text(source, "topic") != t.topic || source["partition"] != t.shard || t.offsets[offset] != "" {
		return fmt.Errorf("its source is another, or was there before")
	}
	if err := t.balance(entry); err != nil {
		return err
	}
	at := text(entry, "recorded_at")
	if t.from == "" || at < t.from {
		t.from = at
	}
	if at > t.to {
		t.to = at
	}
	t.offsets[offset] = "posted"
	t.head = link(line, t.head)
	t.leaves = append(t.leaves, line)
	t.next++
	return nil
}

// balance adds the lines of an entry to the totals: debits equal credits in each currency.
func (t *tally) balance(entry object) error {
	sums := map[string]*big.Int{}
	lines, _ := entry["lines"].([]any)
	for _, item := range lines {
		line, _ := item.(object)
		currency := text(line, "currency")
		amount, err := number(text(line, "amount_minor"))
		side := text(line, "side")
		if err != nil || amount == 0 || side != "debit" && side != "credit" {
			return fmt.Errorf("a line without amount or side")
		}
		for _, held := range []map[string]*big.Int{sums, t.totals} {
			if held[currency] == nil {
				held[currency] = new(big.Int)
			}
		}
		if side == "debit" {
			sums[currency].Add(sums[currency], new(big.Int).SetUint64(amount))
			t.totals[currency].Add(t.totals[currency], new(big.Int).SetUint64(amount))
		} else {
			sums[currency].Sub(sums[currency], new(big.Int).SetUint64(amount))
		}
	}
	for currency, sum := range sums {
		if sum.Sign() != 0 {
			return fmt.Errorf("%s does not balance", currency)
		}
	}
	if len(sums) == 0 {
		return fmt.Errorf("an entry without lines")
	}
	return nil
}

func (t *tally) verdict(line string) error {
	verdict, err := canonical([]byte(line))
	if err != nil {
		return err
	}
	offset, err := number(text(verdict, "offset"))
	said := text(verdict, "verdict")
	if err != nil || t.offsets[offset] != "" || said != "duplicate" && said != "rejected" {
		return fmt.Errorf("not a verdict of an offset of its own")
	}
	if said == "duplicate" {
		t.duplicates++
	}
	t.offsets[offset] = said
	t.verdicts = append(append(t.verdicts, line...), '\n')
	return nil
}

// compare holds what was added up against what the proof says.
func (t *tally) compare(proof, part, source object) error {
	first, err1 := number(text(source, "first_offset"))
	next, err2 := number(text(source, "next_offset"))
	if err1 != nil || err2 != nil || next < first || next-first != uint64(len(t.offsets)) {
		return fmt.Errorf("the offsets are not all accounted for")
	}
	for offset := range t.offsets {
		if offset < first || offset >= next {
			return fmt.Errorf("offset %d lies outside", offset)
		}
	}
	sum := sha256.Sum256(t.verdicts)
	totals := object{}
	for currency, amount := range t.totals {
		totals[currency] = object{"debits": amount.String(), "credits": amount.String()}
	}
	posted := uint64(len(t.leaves))
	for name, pair := range map[string][2]string{
		"last_seq":      {text(part, "last_seq"), fmt.Sprint(t.next - 1)},
		"head_hash":     {text(part, "head_hash"), t.head},
		"num_rows":      {text(proof, "num_rows"), fmt.Sprint(posted)},
		"posted":        {text(source, "posted"), fmt.Sprint(posted)},
		"duplicates":    {text(source, "duplicates"), fmt.Sprint(t.duplicates)},
		"rejected":      {text(source, "rejected"), fmt.Sprint(uint64(len(t.offsets)) - posted - t.duplicates)},
		"verdicts_hash": {text(source, "verdicts_hash"), hex.EncodeToString(sum[:])},
		"totals":        {encode(proof["totals"]), encode(totals)},
		"from_ts":       {text(proof["range"].(object), "from_ts"), t.from},
		"to_ts":         {text(proof["range"].(object), "to_ts"), t.to},
	} {
		if pair[0] != pair[1] {
			return fmt.Errorf("%s is %s, the lines give %s", name, pair[0], pair[1])
		}
	}
	if text(part, "first_seq") == "1" && text(part, "root") != hex.EncodeToString(root(t.leaves)) {
		return fmt.Errorf("root is not that of the entries")
	}
	return nil
}

// sameMetadata: the first line repeats what the proof says, and no line of a batch holds personal data.
func sameMetadata(meta, proof, part object, count, verdicts uint64) error {
	if _, err := number(text(meta, "pii_policy_version")); err != nil {
		return err
	}
	span := proof["range"].(object)
	wanted := object{"count": fmt.Sprint(count), "verdicts": fmt.Sprint(verdicts), "env": proof["env"],
		"service": proof["service"], "shard": part["shard"], "signer_kid": proof["signer_kid"],
		"first_seq": part["first_seq"], "last_seq": part["last_seq"], "prev_hash": part["prev_hash"],
		"from_ts": span["from_ts"], "to_ts": span["to_ts"], "pii_included": false,
		"pii_policy_version": meta["pii_policy_version"]}
	if encode(wanted) != encode(meta) {
		return fmt.Errorf("the first line is not that of the proof: %s", encode(wanted))
	}
	return nil
}

func shardOf(proof object) (object, object) {
	shards, _ := proof["shards"].([]any)
	if len(shards) != 1 {
		return object{}, object{}
	}
	part, _ := shards[0].(object)
	source, _ := part["source"].(object)
	return part, source
}

// root is RFC 6962's: leaves below 0x00, nodes below 0x01, split at the largest power of two below the size.
func root(leaves []string) []byte {
	if len(leaves) == 0 {
		sum := sha256.Sum256(nil)
		return sum[:]
	}
	if len(leaves) == 1 {
		return leafHash(leaves[0])
	}
	half := 1
	for half*2 < len(leaves) {
		half *= 2
	}
	return node(root(leaves[:half]), root(leaves[half:]))
}

func leafHash(leaf string) []byte {
	sum := sha256.Sum256(append([]byte{0}, leaf...))
	return sum[:]
}

func node(left, right []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{1}, left...), right...))
	return sum[:]
}
