"""Looking after an engine (`engine.operations_desk`): what those see and do who see that studies go through.

Enter: questions and orders, with the sites that somebody may see. Leave: values; and changes, each in one
transaction with its event on the audit trail. What the commands say and do is done by the same modules.
"""
