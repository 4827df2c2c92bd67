// Run by test_foreign_client.py: a client in JavaScript, from the .proto files alone.
//
//     NODE_PATH=FOLDER/node_modules node foreign_client.js localhost:GRPC serving/protos
//
// Prints one JSON object.
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, protos] = process.argv.slice(2);
const definition = loader.loadSync('tensorflow_serving.proto', {includeDirs: [protos], longs: Number, keepCase: true});
const api = grpc.loadPackageDefinition(definition).tensorflow.serving;
const client = new api.PredictionService(address, grpc.credentials.createInsecure());
const x = {dtype: 'DT_FLOAT', tensor_shape: {dim: [{size: 2}]}, float_val: [1.0, 2.5]};

client.Predict({model_spec: {name: 'm'}, inputs: {x}}, (error, answer) => {
  if (error) throw error;
  client.Predict({model_spec: {name: 'zz'}, inputs: {x}}, (refusal) => {
    console.log(JSON.stringify({
      y: answer.outputs.y.float_val, version: answer.model_spec.version.value, code: refusal.code,
      details: refusal.details}));
    client.close();
  });
});
