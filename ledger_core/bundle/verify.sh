#!/bin/sh
# Checks an unzipped bundle with nothing of ours: sh, openssl, zcat, sha256sum, sed (and mkdir, rm for a scratch folder).
#
#     unzip FILE.zip -d bundle && sh bundle/verify.sh signers.json [--no-chain]
#
# --no-chain: passes over the hash of each entry, which takes some 5 ms; the digests that are signed cover them, too.
# signers.json: the operator's public keys, from where he publishes them. Without it the keys in the bundle are taken:
# then a forger's own keys would pass, and this script says so. Exit 0: what was checked is sound; 1: findings; 2: usage.
set -u
LC_ALL=C
export LC_ALL

signers=${1:-} each_entry=1
[ "${2:-}" = --no-chain ] && each_entry=0
case $signers in
"" | /*) ;;
*) signers=$PWD/$signers ;;
esac
case $0 in
*/*) cd "${0%/*}" || exit 2 ;;
esac
own_keys=0
if [ -z "$signers" ]; then
    signers=$PWD/signers.json
    own_keys=1
fi
[ -f "$signers" ] || { echo "there is no file $signers"; exit 2; }
scratch=.verify.$$
mkdir "$scratch" || exit 2
trap 'rm -rf "$scratch"' 0
trap 'exit 130' 1 2 15

faults=0 signatures=0 entries=0 batches=0
fault() { # member, what
    faults=$((faults + 1))
    echo "FINDING  $1: $2"
}

escapes() { # 64 hex digits -> $esc: what printf makes 32 bytes of
    esc='' rest=$1
    while [ -n "$rest" ]; do
        more=${rest#??}
        byte=$((0x${rest%"$more"}))
        esc="$esc\\0$((byte / 64))$((byte / 8 % 8))$((byte % 8))"
        rest=$more
    done
}

link() { # payload, hash before it or nothing -> $digest: SHA-256 of payload and hash
    escapes "$2"
    digest=$({ printf '%s' "$1"; printf '%b' "$esc"; } | sha256sum)
    digest=${digest%% *}
}

field() { # name, text -> the value of a text field; the last one of that name
    printf '%s\n' "$2" | sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'
}

key_of() { # kid -> $scratch/key.pem and $algorithm; fails when the registry has none
    [ "${kid_held:-}" = "$1" ] && return 0
    kid_held=''
    # The registry as one line, one signer a line then; a kid is text without quotes.
    signer=$(sed -e ':a' -e '$!N' -e '$!ba' -e 's/\n */ /g' "$signers" | sed -e 's/}, *{/}\
{/g' | sed -n '/"signer_kid": *"'"$(printf '%s' "$1" | sed 's/[][\\.*^$/]/\\&/g')"'"/p')
    [ -n "$signer" ] || return 1
    pem=$(printf '%s\n' "$signer" | sed -n 's/.*"public_key_pem": *"\([^"]*\)".*/\1/p')
    algorithm=$(printf '%s\n' "$signer" | sed -n 's/.*"algorithm": *"\([^"]*\)".*/\1/p')
    [ -n "$pem" ] || return 1
    printf '%b' "$pem" >"$scratch/key.pem"
    kid_held=$1
}

statement() { # file, field with the hash before it or nothing -> $text, $hash; checks hash and signature
    text=$(sed 's/,"cosignatures":\[[^]]*\]//' "$1")
    hash=$(field hash "$text")
    signature=$(field signature "$text")
    kid=$(field signer_kid "$text")
    payload=$(printf '%s\n' "$text" | sed -e 's/,"hash":"[0-9a-f]*"//' -e 's/,"signature":"[^"]*"//')
    prev=''
    [ -n "$2" ] && prev=$(field "$2" "$text")
    link "$payload" "$prev"
    if [ "$digest" != "$hash" ]; then
        fault "$1" "hash is not that of what it says"
        return 1
    fi
    if ! key_of "$kid"; then
        fault "$1" "signer $kid is not in $signers"
        return 1
    fi
    escapes "$hash"
    printf '%b' "$esc" >"$scratch/digest"
    printf '%s' "$signature" | openssl base64 -d -A >"$scratch/signature" 2>/dev/null
    case $algorithm in
    ed25519) set -- "$1" -rawin ;;
    rsa-sha256) set -- "$1" -pkeyopt digest:sha256 ;;
    *)
        fault "$1" "its signature is a $algorithm, which openssl alone cannot check"
        return 1
        ;;
    esac
    name=$1
    shift
    if openssl pkeyutl -verify -pubin -inkey "$scratch/key.pem" "$@" -in "$scratch/digest" \
        -sigfile "$scratch/signature" >/dev/null 2>&1; then
        signatures=$((signatures + 1))
    else
        fault "$name" "the signature is not that of $kid"
        return 1
    fi
}

same() { # member, field, said, wanted
    [ "$3" = "$4" ] || fault "$1" "$2 is '$3', and must be '$4'"
}

# 1. The statement, and that the files are those it names and no others.
if [ ! -s bundle.json ]; then
    fault bundle.json "is missing or empty"
    echo "1 finding: this is not a bundle"
    exit 1
fi
statement bundle.json ''
bundle=$text
env=$(field env "$bundle")
sed 's/{"path":"\([^"]*\)","sha256":"\([0-9a-f]*\)","size_bytes":"[0-9]*"}/\
\2  \1\
/g' bundle.json | sed -n '/^[0-9a-f]\{64\}  /p' >"$scratch/sums"
sha256sum -c "$scratch/sums" >"$scratch/compared" 2>/dev/null
while IFS= read -r line; do
    case $line in
    *": OK") ;;
    *) fault "${line%:*}" "is missing, or its SHA-256 is not the one in bundle.json" ;;
    esac
done <"$scratch/compared"
named=$(sed 's/^[0-9a-f]*  //' "$scratch/sums")
for file in * */* */*/* */*/*/*; do
    [ -f "$file" ] || continue
    case "
$named
" in
    *"
$file
"*) ;;
    *) [ "$file" = bundle.json ] || fault "$file" "bundle.json does not name this file" ;;
    esac
done
[ -n "$named" ] || fault bundle.json "names no file"

batch() { # manifest file, batch file: entries, chain, counts, verdict lines, proof
    zcat "$2" >"$scratch/lines" 2>/dev/null || fault "$2" "cannot be unpacked"
    sum=$(sha256sum <"$scratch/lines")
    same "$2" "SHA-256 of its lines" "${sum%% *}" "$(field sha256 "$object")"
    IFS= read -r head <"$scratch/lines" || head=''
    count=$(field count "$head") verdicts=$(field verdicts "$head")
    case $count$verdicts in
    '' | *[!0-9]*)
        fault "$2" "its first line is no metadata"
        return
        ;;
    esac
    same "$2" env "$(field env "$head")" "$env"
    same "$2" first_seq "$(field first_seq "$head")" "$(field first_seq "$object")"
    same "$2" last_seq "$(field last_seq "$head")" "$(field last_seq "$object")"
    total=$(sed -n '$=' "$scratch/lines")
    same "$2" "count of lines" "$total" "$((count + verdicts + 2))"
    chained=$(field prev_hash "$head")
    [ -z "$chain_head" ] || same "$2" prev_hash "$chained" "$chain_head"
    digest=$chained number=0
    while [ "$each_entry" = 1 ] && [ "$number" -le "$count" ] && IFS= read -r line; do
        [ "$number" = 0 ] || link "$line" "$digest"
        number=$((number + 1))
    done <"$scratch/lines"
    chain_head=$digest
    [ "$each_entry" = 1 ] || chain_head=$(field head_hash "$(sed -n '$p' "$scratch/lines")")
    entries=$((entries + count * each_entry)) batches=$((batches + 1))
    proof=$folder/proofs/${1##*/}
    [ -s "$proof" ] || { fault "$proof" "is missing"; return; }
    sed -n '$p' "$scratch/lines" >"$scratch/proof"
    one=$(sha256sum <"$scratch/proof") two=$(sha256sum <"$proof")
    same "$proof" "SHA-256" "${two%% *}" "${one%% *}"
    statement "$proof" prev_proof_hash || return
    same "$proof" head_hash "$(field head_hash "$text")" "$chain_head"
    same "$proof" proof_hash "$hash" "$(field proof_hash "$object")"
    same "$proof" env "$(field env "$text")" "$env"
    if [ "$verdicts" = 0 ]; then
        sum=$(printf '' | sha256sum)
    else
        sum=$(sed -n "$((count + 2)),$((count + verdicts + 1))p" "$scratch/lines" | sha256sum)
    fi
    same "$proof" verdicts_hash "$(field verdicts_hash "$text")" "${sum%% *}"
    [ -z "$proof_before" ] || same "$proof" prev_proof_hash "$(field prev_proof_hash "$text")" "$proof_before"
    proof_before=$hash
}

# 2. Each shard: every manifest in its place, and the batch that it pins.
for folder in shards/*; do
    [ -d "$folder" ] || { fault "$folder" "no shard is there"; continue; }
    chain_head='' proof_before='' manifest_before='' seq_before='' offset_before='' last_text=''
    for manifest in "$folder"/manifests/*; do
        [ -s "$manifest" ] || { fault "$manifest" "no manifest is there"; continue; }
        statement "$manifest" prev_manifest_hash || continue
        same "$manifest" env "$(field env "$text")" "$env"
        [ -z "$manifest_before" ] ||
            same "$manifest" prev_manifest_hash "$(field prev_manifest_hash "$text")" "$manifest_before"
        manifest_before=$hash last_text=$text
        object=$(printf '%s\n' "$text" | sed -n 's/.*"object":\(.*\),"prev_manifest_hash".*/\1/p')
        first=$(field first_seq "$object") offset=$(field first_offset "$object")
        [ -z "$seq_before" ] || same "$manifest" first_seq "$first" "$((seq_before + 1))"
        [ -z "$offset_before" ] || same "$manifest" first_offset "$offset" "$offset_before"
        seq_before=$(field last_seq "$object") offset_before=$(field next_offset "$object")
        key=$(field key "$object")
        file=$folder/batches/${key##*/}
        [ -s "$file" ] || { fault "$file" "is missing"; continue; }
        batch "$manifest" "$file"
    done
    note=$(sed -e ':a' -e '$!N' -e '$!ba' -e 's/\n/\\n/g' "$folder/checkpoints/last.note" 2>/dev/null)
    same "$folder/checkpoints/last.note" "its text" "$note\\n" "$(field checkpoint "$last_text")"
done

# 3. What it comes to.
echo "checked: $(sed -n '$=' "$scratch/sums") files, $signatures signatures, $batches batches, $entries entries in their chain"
echo "not checked here: the Merkle trees and checkpoints' signatures, the balance of entries, times and window, audit
events, and whether a key had ended: finance verify bundle and verify.html do"
[ "$own_keys" = 0 ] || echo "the keys were those in the bundle: name the operator's published signers.json to know whose"
if [ "$faults" -gt 0 ]; then
    echo "$faults findings"
    exit 1
fi
echo "sound: no findings"
