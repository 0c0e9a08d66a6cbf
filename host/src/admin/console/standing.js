// How a tenant stands: whether what it writes is taken, is refused, or does not come.
//
// Takes a row of the API or of the stream, gives a word and the times that it rests on. Never guesses: of a gateway that does
// not say when samples came, nothing is known.

/** In seconds: a refusal that is older says nothing of now. */
export const RECENT = 300;
const LATELY = 120;
/** Where nothing was taken for so long, a refusal is of every write: nearly all senders write once a minute at least. */
const WHOLE = 90;
/** After this a sender that wrote is silent, and after that it is forgotten. */
const SILENT = 180;
const FORGOTTEN = 3600;
/** Who is refused for these has proved nobody. */
const OF_STRANGERS = /^(tls_|wrong_credential$|credentials_unknown$|ambiguous_credentials$)/;

const seconds = (ago) => ago ?? Infinity;

/**
 * `is`: `refused` (every write), `partly` (some writes), `silent`, `idle` (for an hour or since the start), `well`, or `unknown`.
 * `taken` and `came` are seconds ago, infinite if never.
 */
export function standing(row) {
  if (row.last_taken_seconds_ago === undefined) return { is: "unknown" };
  const [taken, received, refused] = [
    row.last_taken_seconds_ago,
    row.last_received_seconds_ago,
    row.last_seconds_ago,
  ].map(seconds);
  const came = Math.min(received, refused);
  const told = { taken, came, refused, isClaimed: OF_STRANGERS.test(row.last_reason ?? "") };
  if (refused < RECENT && taken > Math.max(WHOLE, refused)) return { is: "refused", ...told };
  if (came >= FORGOTTEN) return { is: "idle", ...told };
  if (came > SILENT) return { is: "silent", ...told };
  // What is answered 5xx comes again: it is told as long as something waits, of which rates know a minute later.
  const isLost = row.last_status >= 400 && row.last_status < 500;
  const isTold = refused < (isLost || row.last_reason === "credential_removed" ? RECENT : LATELY);
  if (isTold && !(row.rejected > 0 || row.waiting > 0)) return { is: "partly", ...told };
  return { is: taken <= SILENT ? "well" : "unknown", ...told };
}
