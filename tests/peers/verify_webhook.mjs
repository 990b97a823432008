// Verify one webhook with the npm package standardwebhooks: a second implementation of the signature.
//
// Standard input: {"secret": "whsec_…", "headers": {…}, "body": "…"}. Exit status 0 when it verifies.
import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';

const { secret, headers, body } = JSON.parse(readFileSync(0, 'utf8'));
new Webhook(secret).verify(body, headers);
