// Storage commitment with dcmjs-dimse: ask by N-ACTION, hear N-EVENT-REPORTs; one JSON object a line.
//
// commitment_requester.mjs ask '{"port", "calling", "called", "transaction", "references": [[class, instance]],
//   "linger": milliseconds to keep the association open}'     ends with the association
// commitment_requester.mjs listen PORT                         takes reports on associations of the peer
import dcmjsDimse from 'dcmjs-dimse';

const { Client, Dataset, Scp, Server } = dcmjsDimse;
const { NActionRequest } = dcmjsDimse.requests;
const { NEventReportResponse } = dcmjsDimse.responses;
const { PresentationContextResult, SopClass, Status, TransferSyntax } = dcmjsDimse.constants;

const PUSH_MODEL = SopClass.StorageCommitmentPushModel;
const INSTANCE = '1.2.840.10008.1.20.1.1';

dcmjsDimse.log.setLevel?.('error');
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const items = (sequence) => (sequence === undefined ? [] : Array.isArray(sequence) ? sequence : [sequence]);

function hear(request, callback) {
  const elements = request.getDataset().getElements();
  tell({
    event: request.getEventTypeId(),
    transaction: elements.TransactionUID,
    committed: items(elements.ReferencedSOPSequence).map((item) => item.ReferencedSOPInstanceUID),
    failed: items(elements.FailedSOPSequence).map((item) => [item.ReferencedSOPInstanceUID, item.FailureReason]),
  });
  const response = NEventReportResponse.fromRequest(request);
  response.setStatus(Status.Success);
  callback(response);
}

function ask({ port, calling, called, transaction, references, linger }) {
  const request = new NActionRequest(PUSH_MODEL, INSTANCE, 1);
  request.setDataset(
    new Dataset({
      TransactionUID: transaction,
      ReferencedSOPSequence: references.map(([sopClass, instance]) => ({
        ReferencedSOPClassUID: sopClass,
        ReferencedSOPInstanceUID: instance,
      })),
    })
  );
  request.on('response', (response) => tell({ status: response.getStatus() }));
  const client = new Client();
  client.addRequest(request);
  client.on('nEventReportRequest', hear);
  client.on('networkError', (error) => tell({ error: String(error) }));
  client.on('associationRejected', () => tell({ error: 'rejected' }));
  client.send('127.0.0.1', port, calling, called, { associationLingerTimeout: linger });
}

class Listener extends Scp {
  associationRequested(association) {
    for (const { context } of association.getPresentationContexts()) {
      const offered = context.getTransferSyntaxUids();
      const syntax = [TransferSyntax.ExplicitVRLittleEndian, TransferSyntax.ImplicitVRLittleEndian].find((one) =>
        offered.includes(one)
      );
      if (context.getAbstractSyntaxUid() === PUSH_MODEL && syntax) {
        tell({ roles: [context.getUserRole(), context.getProviderRole()] });
        context.setResult(PresentationContextResult.Accept, syntax);
      } else {
        context.setResult(PresentationContextResult.RejectAbstractSyntaxNotSupported);
      }
    }
    this.sendAssociationAccept();
  }

  nEventReportRequest(request, callback) {
    hear(request, callback);
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

const [mode, argument] = process.argv.slice(2);
if (mode === 'ask') {
  ask(JSON.parse(argument));
} else {
  const server = new Server(Listener);
  server.on('networkError', (error) => tell({ error: String(error) }));
  server.listen({ port: Number(argument), host: '127.0.0.1' });
  tell({ listening: Number(argument) });
}
