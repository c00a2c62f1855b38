// Pairs of starts on the same keys by k6, in one of two ways:
// unpaced: two VUs that know nothing of one another go through the keys, each as fast as it is answered;
// batch: one VU asks for both at once by http.batch, which is how k6 sends requests in parallel.
// k6 run -e URL=... -e KEYS=a,b,... -e FORM=... k6_pairs.js
// Each VU prints a line for every answer at its end: the number of the key, the status, when the service says that the
// request had arrived.
import http from "k6/http";
import exec from "k6/execution";

const KEYS = __ENV.KEYS.split(",");
const found = [];

export const options = {
  scenarios: {
    pairs: { executor: "per-vu-iterations", vus: __ENV.FORM === "batch" ? 1 : 2, iterations: KEYS.length },
  },
};

function start(key, me) {
  return ["POST", `${__ENV.URL}/${key}/start`, null, { headers: { "Race-Attempt": `${me}-${key}` } }];
}

export default function () {
  const place = exec.vu.iterationInScenario;
  const me = exec.vu.idInTest;
  const answers =
    __ENV.FORM === "batch"
      ? http.batch([start(KEYS[place], "a"), start(KEYS[place], "b")])
      : [http.request(...start(KEYS[place], me))];
  for (const one of answers) {
    found.push(`pair ${place} ${one.status} ${one.headers["Race-Arrived-Ns"]}`);
  }
  if (place === KEYS.length - 1) {
    console.log(found.join("\n"));
  }
}
