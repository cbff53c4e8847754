// The smallest verifier that somebody else would write: from docs/FORMATS.md alone, with Go's standard library.
//
// It reads cases from standard input, one JSON object a line ({"kind", "data", "signers"}, the last two base64), and
// answers a line for each: "sound", or what is wrong.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<28)
	for lines.Scan() {
		var given struct {
			Kind          string
			Data, Signers []byte
		}
		if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if err := check(given.Kind, given.Data, given.Signers); err != nil {
			fmt.Printf("%q\n", err.Error())
		} else {
			fmt.Println("sound")
		}
	}
}

func check(kind string, data, signers []byte) error {
	keys, err := readRegistry(signers)
	if err != nil {
		return err
	}
	switch kind {
	case "batch":
		return keys.batch(data)
	case "proof":
		_, err = keys.proof(bytes.TrimSuffix(data, []byte("\n")))
		return err
	case "audit":
		return keys.audit(data)
	case "checkpoint":
		_, err = keys.checkpoint(string(data))
		return err
	case "receipt":
		return keys.receipt(data)
	}
	return fmt.Errorf("no such kind")
}

// proof checks a range proof on its own: its spelling, hash, signature and cosignatures.
func (r registry) proof(line []byte) (object, error) {
	proof, err := canonical(line)
	if err != nil {
		return nil, err
	}
	part, source := shardOf(proof)
	if _, is := proof["range"].(object); !is || len(source) == 0 {
		return nil, fmt.Errorf("a proof speaks of one shard and a range")
	}
	last, err := number(text(part, "last_seq"))
	if err != nil {
		return nil, err
	}
	shard, _ := part["shard"].(int64)
	places := []place{{int(shard), last, text(part, "head_hash")}}
	if err := r.signed(proof, text(proof, "prev_proof_hash"), "proof", places); err != nil {
		return nil, err
	}
	beside, _ := proof["cosignatures"].([]any)
	for _, item := range beside {
		one, _ := item.(object)
		signer, is := r[text(one, "signer_kid")]
		if !is || text(one, "alg") != signer.Algorithm || signer.counts("proof", text(proof, "ts"), places) != "" {
			return nil, fmt.Errorf("a cosigner that does not count")
		}
		if err := signer.signedHash(text(proof, "hash"), text(one, "signature")); err != nil {
			return nil, err
		}
	}
	return proof, nil
}

// audit checks a chain of events from its first.
func (r registry) audit(data []byte) error {
	if !bytes.HasSuffix(data, []byte("\n")) {
		return fmt.Errorf("the last line has no end")
	}
	before := object{}
	for at, line := range bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) {
		event, err := canonical(line)
		if err != nil {
			return err
		}
		payload, _ := event["payload"].(object)
		for _, name := range []string{"id", "seq", "event_type", "actor_id", "created_at"} {
			if payload[name] != event[name] || text(event, name) == "" {
				return fmt.Errorf("line %d: %s is not that of the payload", at+1, name)
			}
		}
		prev := text(event, "prev_hash")
		if text(event, "seq") != fmt.Sprint(at+1) || prev != text(before, "hash") || len(event) != 10 {
			return fmt.Errorf("line %d does not follow the one before it", at+1)
		}
		if text(event, "created_at") <= text(before, "created_at") {
			return fmt.Errorf("line %d: created_at does not increase", at+1)
		}
		if event["hash"] != link(encode(payload), prev) {
			return fmt.Errorf("line %d: hash is another", at+1)
		}
		signer, is := r[text(event, "signer_kid")]
		where := []place{{-1, uint64(at + 1), text(event, "hash")}}
		if !is || signer.counts("audit_event", text(event, "created_at"), where) != "" {
			return fmt.Errorf("line %d: no key that counts", at+1)
		}
		if err := signer.signedHash(text(event, "hash"), text(event, "signature")); err != nil {
			return err
		}
		before = event
	}
	return nil
}
